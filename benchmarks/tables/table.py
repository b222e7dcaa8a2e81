"""A table of a page: what makes it, where it stands, and the commands that measure its rows."""

from collections.abc import Callable
from dataclasses import dataclass

from commands import Command


@dataclass(frozen=True)
class Table:
    """One table between ``<!-- table: NAME -->`` and ``<!-- end -->`` of its page."""

    name: str
    page: str  # from the repository's root
    make: Callable[[], str]  # Markdown, of the rows that there are; raises MissingRowsError
    commands: tuple[Command, ...]
