"""How long work says what it is doing: it is handed a function, and whoever hands it decides who hears it."""

from collections.abc import Callable

Tell = Callable[[str], None]
OnReply = Callable[[str, str], None]  # market, action: one market has answered


def silent(_text: str) -> None:
    """Nobody reads it."""


def ignore(_market: str, _action: str) -> None:
    """Nobody counts answers."""
