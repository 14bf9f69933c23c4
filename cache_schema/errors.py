"""The exception for everything that a user can correct.

    raise UserError("points.blocks must be at least 1, got 0")

The commands show its message as one line and end with exit code 2. Any other exception is a bug of this project or of a library and
keeps its traceback. `UserError` derives from `ValueError`, so that a script may catch either.
"""


class UserError(ValueError):
    """A file, a setting, a cache or a machine is wrong. The message says what is wrong, what was expected, and what to do."""


class Partial(UserError):
    """A command has done all its work, and a part of what it made is of no use. The message says which, and how to go on. Commands show it
    last, and end with exit code 1, as where shapes have failed."""
