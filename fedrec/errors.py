"""The errors this software raises on purpose, and the exit code each one ends in."""

from pathlib import Path
from traceback import extract_tb

LOGGED = "details in the market's own log"  # stands for what a market does not say of an unexpected error


class FedrecError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1


class UserError(FedrecError):
    """Something the person at the keyboard can mend: the text names the file or key, the value, the remedy."""

    exit_code = 2


class DataError(UserError):
    """A user error found inside private data: the text may quote a row."""


class ComponentError(UserError):
    """A component failed that may be anybody's; its cause is that failure, whose traceback its author wants to see."""


class RunError(FedrecError):
    """A run that could not finish. The one error whose text a market sends: it must quote neither data nor paths."""


class EgressError(FedrecError):
    """Something undeclared was about to leave a market. Raised before it is sent."""


def place_of(error: BaseException, file: str | None = None) -> str:
    """Where it happened, such as ``encoder.py, line 3``: the last place in ``file``, else where its traceback ends."""
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if file is not None and Path(frame.filename) == Path(file)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"
