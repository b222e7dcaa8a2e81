"""How long work says what it is doing: it is handed a function of a text, and whoever hands it decides who reads it."""

from collections.abc import Callable

Tell = Callable[[str], None]


def silent(_text: str) -> None:
    """Nobody reads it."""
