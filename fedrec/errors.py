"""The errors this software raises on purpose, and the exit code each one ends in."""


class FedrecError(Exception):
    """Base of every error raised on purpose. Its text never contains a user id or an interaction
    unless it is a :class:`DataError`, which stays on the machine that holds the data."""

    exit_code = 1


class UserError(FedrecError):
    """Something the person at the keyboard can mend: the text names the file or key, the value, the remedy."""

    exit_code = 2


class DataError(UserError):
    """A user error found inside private data: the text may quote a row, so it is never sent to the coordinator."""


class RunError(FedrecError):
    """A run that could not finish: every market failed, or the quorum was missed for good."""


class EgressError(FedrecError):
    """Something undeclared was about to leave a market. Raised before it is sent."""
