"""Where the rows of a source stand, and the one way in which an importer refuses one of them."""

import re
from dataclasses import dataclass

import polars as pl

from fedrec.errors import DataError
from fedrec.words import cleaned

_SHOWN = 60  # characters of a value
_MORE_THAN_ONE = re.compile(r"[\r\n,;\t|\"]")


@dataclass(frozen=True)
class Rows:
    """The rows of one source, in the order of a frame's."""

    origin: str  # the file
    places: pl.Series  # where each row stands in it, from 1
    unit: str = "row"  # what is counted: ``row`` or ``line``

    def refuse(self, wrong: pl.Series, values: pl.Series | None, what: str, why: str, remedy: str) -> None:
        """Raise :class:`DataError` for the first row that is ``wrong``; ``values``: which of its values to quote."""
        for index in wrong.fill_null(False).arg_true()[:1]:
            value = "" if values is None else quoted(values[index])
            raise DataError(f"{self.origin}: {self.unit} {self.places[index]}: {what}{value} {why}; {remedy}")


def quoted(value: object) -> str:
    """A value as errors show it; what may have swallowed others, where quotes are unbalanced, is not shown."""
    if isinstance(value, str) and _MORE_THAN_ONE.search(value):
        return " (with a separator, quote or line break in it)"
    return f" {cleaned(repr(value), _SHOWN)}"
