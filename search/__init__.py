"""What happened to networks: train populations of them, anywhere, and write it down."""
