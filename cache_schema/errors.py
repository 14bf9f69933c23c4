"""The one exception for what a user can mend.

    raise UserError("points.blocks must be at least 1, got 0")

The command lines show its message as one line and end with exit code 2. Every other exception is a fault of ours (or of a
library) and keeps its traceback. It derives from `ValueError`, so that a script may catch either.
"""


class UserError(ValueError):
    """Something given to us is wrong: a file, a setting, a cache, a machine. The message says what, what was expected, and what to do."""
