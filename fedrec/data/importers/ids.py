"""Ids of users, items and markets as people write them: whole numbers, texts, and what stands for a missing one."""

import polars as pl

from fedrec.data.importers.refusal import refuse
from fedrec.exchange.keys import LONGEST_KEY

_MISSING = ("nan", "null", "none", "nat", "<na>", "#n/a")  # what programs write where nothing is
_FLOAT = r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"
_WRITTEN_AS_FLOAT = r"[.eE]"
_CONTROL = r"[\x00-\x1f\x7f-\x9f]"


def read_ids(
    column: pl.Series, rows: pl.Series, origin: str, what: str, missing_words: bool = True
) -> tuple[pl.Series, list[str]]:
    """The ids of a column as texts, in Unicode's composed form (NFC), and what is worth saying of them.

    Whole floats become integers: a column with gaps turns into floats in many programs. Raises
    :class:`fedrec.errors.DataError` for the first that is missing, has a fraction, is a float too large to tell apart
    from its neighbours, or holds control characters. ``missing_words``: ``nan``, ``NULL`` and the like are missing.
    """
    notes: list[str] = []
    if column.dtype.is_float():
        texts = _whole(column, rows, origin, what)
    elif column.dtype == pl.Decimal:
        texts = column.cast(pl.String).str.replace(r"\.0+$", "")
    else:
        texts = column.cast(pl.String).str.strip_chars()
    words = _MISSING if missing_words else ()
    missing = texts.is_null() | (texts == "") | texts.str.to_lowercase().is_in(words)
    refuse(missing, column, rows, origin, what, "is missing", "supply it or remove the row")
    control = texts.str.contains(_CONTROL)
    refuse(control, None, rows, origin, what, "holds a line break or control character", "is a quote unbalanced there?")
    if column.dtype == pl.String and _written_as_floats(texts):
        texts = _whole(texts.cast(pl.Float64), rows, origin, what)
        notes.append(f"{what}: numbers written as floats are taken for whole numbers, such as {texts[0]}")
    composed = texts.str.normalize("NFC")
    changed = texts.filter(composed != texts).n_unique()
    if changed:
        merged = texts.n_unique() - composed.n_unique()
        notes.append(
            f"{what}: {changed} ids were not in Unicode's composed form (NFC) and are now"
            + (f"; {merged} of them became one with another" if merged else "")
        )
    long = composed.str.len_chars() > LONGEST_KEY
    refuse(long, composed.str.head(40), rows, origin, what, f"has over {LONGEST_KEY} characters", "shorten it")
    return composed, notes


def _written_as_floats(texts: pl.Series) -> bool:
    """Whether all are whole numbers, and some are written as ``17850.0`` or ``1.785e4``."""
    if not texts.str.contains(_FLOAT).all() or not texts.str.contains(_WRITTEN_AS_FLOAT).any():
        return False
    numbers = texts.cast(pl.Float64)
    return bool((numbers == numbers.floor()).all())


def _whole(column: pl.Series, rows: pl.Series, origin: str, what: str) -> pl.Series:
    """Floats as texts of whole numbers."""
    exact = 2**24 if column.dtype == pl.Float32 else 2**53
    gone = column.is_null() | column.is_nan()
    refuse(gone, column, rows, origin, what, "is missing", "supply it or remove the row")
    large = column.abs() >= exact
    refuse(
        large, column, rows, origin, what, "is a float too large to be an exact id", "write ids as integers or texts"
    )
    refuse(column != column.floor(), column, rows, origin, what, "is no whole number", "write ids as integers or texts")
    return column.cast(pl.Int64).cast(pl.String)
