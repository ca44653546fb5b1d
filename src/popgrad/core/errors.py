"""The errors that popgrad raises on purpose. All derive from `PopgradError`."""


class PopgradError(Exception):
    """Base of everything raised on purpose; the message is one line a user can act on."""


class UsageError(PopgradError, ValueError):
    """Something given by the user cannot be used: names the key, what was given, what is allowed.

    The command line turns it into exit code 2.
    """


class DataError(UsageError):
    """A data file is missing, unreadable, truncated or not what it should be."""


class RunError(PopgradError, RuntimeError):
    """A run cannot go on; what it has recorded stays and can be resumed."""


class NobodyLeftError(RunError):
    """No member has a finite score, so there is nobody to inherit from."""
