"""Write tables into their pages: between ``<!-- table: NAME -->`` and ``<!-- end -->`` everything is replaced."""

import re
from collections.abc import Iterable
from pathlib import Path

from tables.figures import MissingRowsError
from tables.table import Table

ROOT = Path(__file__).parents[2]
_PLACE = re.compile(r"(<!-- table: ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


class NoPlaceError(Exception):
    """A page does not have exactly one place for a table that stands on it."""


def places(page: Path) -> list[str]:
    """The names of the tables that a page has places for."""
    return [match[2] for match in _PLACE.finditer(page.read_text(encoding="utf-8"))]


def fill(tables: Iterable[Table], root: Path = ROOT) -> dict[str, str]:
    """Write tables into the pages below ``root``; returns those that stay as they are for want of rows, and why."""
    texts: dict[Path, str] = {}
    kept: dict[str, str] = {}
    for table in tables:
        page = root / table.page
        text = texts.get(page) or page.read_text(encoding="utf-8")
        if sum(match[2] == table.name for match in _PLACE.finditer(text)) != 1:
            raise NoPlaceError(
                f"{table.page}: needs exactly one line <!-- table: {table.name} -->, with <!-- end --> below"
            )
        try:
            made = table.make()
        except MissingRowsError as missing:
            kept[table.name] = str(missing)
            continue
        texts[page] = _PLACE.sub(lambda m, t=table, new=made: f"{m[1]}{new}\n{m[4]}" if m[2] == t.name else m[0], text)
    for page, text in texts.items():
        page.write_text(text, encoding="utf-8")
    return kept
