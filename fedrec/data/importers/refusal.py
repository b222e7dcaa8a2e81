"""Where the rows of a source stand, and the one way in which an importer refuses one of them."""

from dataclasses import dataclass

import polars as pl

from fedrec.errors import DataError
from fedrec.words import cleaned

_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Rows:
    """The rows of one source, in the order of a frame's."""

    origin: str  # the file
    places: pl.Series  # where each row stands in it, from 1
    unit: str = "row"  # what is counted: ``row`` or ``line``

    def refuse(self, wrong: pl.Series, values: pl.Series | None, what: str, why: str, remedy: str) -> None:
        """Raise :class:`DataError` for the first row that is ``wrong``; ``values``: which of its values to quote."""
        for index in wrong.fill_null(False).arg_true()[:1]:
            value = "" if values is None else f" {cleaned(repr(values[index]), _SHOWN)}"
            raise DataError(f"{self.origin}: {self.unit} {self.places[index]}: {what}{value} {why}; {remedy}")
