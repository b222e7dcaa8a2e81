"""The errors this software raises on purpose, and the exit code each one ends in."""


class FedrecError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1


class UserError(FedrecError):
    """Something the person at the keyboard can mend: the text names the file or key, the value, the remedy."""

    exit_code = 2


class DataError(UserError):
    """A user error found inside private data: the text may quote a row."""


class RunError(FedrecError):
    """A run that could not finish. The one error whose text a market sends: it must quote neither data nor paths."""


class EgressError(FedrecError):
    """Something undeclared was about to leave a market. Raised before it is sent."""
