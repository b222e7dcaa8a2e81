"""Progress callbacks for long-running work."""

from collections.abc import Callable

Progress = Callable[[str], None]
OnReply = Callable[[str, str], None]  # market, action: one market has answered


def no_progress(_text: str) -> None:
    """Nobody reads it."""


def ignore(_market: str, _action: str) -> None:
    """Nobody counts answers."""
