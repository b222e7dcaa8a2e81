"""The one way in which an importer refuses a row."""

import polars as pl

from fedrec.errors import DataError
from fedrec.words import cleaned

_SHOWN = 60  # characters of a value


def refuse(
    wrong: pl.Series, values: pl.Series | None, rows: pl.Series, origin: str, what: str, why: str, remedy: str
) -> None:
    """Raise :class:`DataError` for the first row that is ``wrong``; ``values``: which of its values to quote."""
    for index in wrong.fill_null(False).arg_true()[:1]:
        value = "" if values is None else f" {cleaned(repr(values[index]), _SHOWN)}"
        raise DataError(f"{origin}: row {rows[index]}: {what}{value} {why}; {remedy}")
