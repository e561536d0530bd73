"""Networks and their weights to and from other libraries and formats, a file a library.

torch and the libraries are imported when a function needs them.
"""
