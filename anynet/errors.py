"""The two errors that end a command in one line; everything else is a defect."""


class InputError(ValueError):
    """What a user gave is wrong: file, field, value and rule in one line (exit code 2)."""


class WorkFailed(RuntimeError):
    """The input was fine and the work failed; the message is one line (exit code 1)."""
