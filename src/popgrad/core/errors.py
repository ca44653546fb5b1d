"""The errors that popgrad raises on purpose. All derive from `PopgradError`."""


class PopgradError(Exception):
    """Base of everything raised on purpose; the message is one line a user can act on."""


class UsageError(PopgradError, ValueError):
    """An argument, an option or a key of a user that cannot be used.

    The message names it, the allowed values and the given one. The command line exits with code 2.
    """


class DataError(UsageError):
    """A data file that is missing, unreadable, truncated or malformed."""


class RunError(PopgradError, RuntimeError):
    """A run that cannot continue; the record stays and can be resumed.

    Attributes:
        in_task: Whether an exception of the task has ended it, so that the task is to be corrected.
    """

    in_task = False


class AllMembersFailedError(RunError):
    """A population in which no member has a finite score, so none is left to inherit from."""
