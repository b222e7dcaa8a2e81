"""Ids of users, items and markets as people write them: whole numbers, texts, and what stands for a missing one."""

import polars as pl

from fedrec.data.importers.refusal import Rows
from fedrec.exchange.keys import LONGEST_KEY
from fedrec.words import unseen

# What programs write where nothing is, in lower case.
MISSING = frozenset(
    (
        "nan", "-nan", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind", "null", "(null)", "none", "nil", "nat", "<na>",
        "#n/a", "#n/a n/a", "#na", "n/a", "\\n", "undefined", ".",
    )
)  # fmt: skip
_NAMIBIA = frozenset({"na"})  # what R writes for nothing is a country among markets
_WHOLE = r"^-?(0|[1-9]\d*)(\.0*)?$"
_SCIENTIFIC = r"^[+-]?\d+(\.\d+[eE][+-]?|[eE]\+)\d+$"
_REMEDY = "write ids as integers or texts"


def read_ids(column: pl.Series, rows: Rows, what: str, markets: bool = False) -> tuple[pl.Series, list[str]]:
    """The ids of a column as texts, in Unicode's composed form (NFC), and what is worth saying of them.

    Whole floats become integers: a column with gaps turns into floats in many programs. What programs write for nothing
    (``nan``, ``NULL``, ``N/A``) is missing; ``NA`` too, but for ``markets``. Raises
    :class:`fedrec.errors.DataError` for the first that is missing, has a fraction, is a float too large to tell apart
    from its neighbours, is written with an exponent, too long, or holds characters that nobody sees.
    """
    notes: list[str] = []
    if column.dtype.is_float():
        texts = _whole(column, rows, what)
    elif column.dtype == pl.Decimal:
        texts = column.cast(pl.String).str.replace(r"\.0+$", "")
        rows.refuse(texts.str.contains(".", literal=True), column, what, "is no whole number", _REMEDY)
    else:
        texts = column.cast(pl.String).str.strip_chars()
    words = sorted(MISSING if markets else MISSING | _NAMIBIA)
    missing = texts.is_null() | (texts == "") | texts.str.to_lowercase().is_in(words)
    rows.refuse(missing, column, what, "is missing", "supply it or remove the row")
    _refuse_unseen(texts, rows, what)
    if column.dtype == pl.String:
        why = "is written with an exponent, so it may be rounded"
        rows.refuse(texts.str.contains(_SCIENTIFIC), column, what, why, _REMEDY)
        if _written_as_floats(texts):
            whole = _whole(texts.cast(pl.Float64), rows, what)
            note = f"{what}: numbers written as floats are taken for whole numbers, such as {whole[0]}"
            notes.append(note + _merged(texts, whole))
            texts = whole
        else:
            notes += _apart(texts, what)
    composed = texts.str.normalize("NFC")
    changed = texts.filter(composed != texts).n_unique()
    if changed:
        note = f"{what}: {changed} ids were not in Unicode's composed form (NFC) and are now"
        notes.append(note + _merged(texts, composed))
    long = composed.str.len_chars() > LONGEST_KEY
    rows.refuse(long, composed.str.head(40), what, f"has over {LONGEST_KEY} characters", "shorten it")
    return composed, notes


def _merged(before: pl.Series, after: pl.Series) -> str:
    merged = before.n_unique() - after.n_unique()
    return f"; {merged} of them became one with another" if merged else ""


def _apart(texts: pl.Series, what: str) -> list[str]:
    """What to say of ids such as ``12.0`` that stand beside ``12``, in a column that is not of numbers alone."""
    floats = texts.filter(texts.str.contains(_WHOLE) & texts.str.contains(".", literal=True)).unique()
    both = floats.filter(floats.str.replace(r"\.0*$", "").is_in(texts.unique().implode()))
    if both.is_empty():
        return []
    example = both.sort()[0]
    return [f"{what}: {len(both)} ids such as {example} stand beside {example.partition('.')[0]} and are others"]


def _refuse_unseen(texts: pl.Series, rows: Rows, what: str) -> None:
    found = unseen(texts.unique())
    if not found:
        return
    wrong = texts.str.contains_any(found)
    character = unseen([texts[int(wrong.arg_true()[0])]])[0]
    why = f"holds a character that nobody sees, U+{ord(character):04X}"
    remedy = "is a quote unbalanced there?" if character in "\n\r" else "remove it"
    rows.refuse(wrong, None, what, why, remedy)


def _written_as_floats(texts: pl.Series) -> bool:
    """Whether all are whole numbers, and some are written as ``17850.0``.

    What has zeros in front is a code: ``007`` and ``7.0`` in one column are left as they are.
    """
    return bool(texts.str.contains(_WHOLE).all()) and bool(texts.str.contains(".", literal=True).any())


def _whole(column: pl.Series, rows: Rows, what: str) -> pl.Series:
    """Floats as texts of whole numbers."""
    exact = 2**24 if column.dtype == pl.Float32 else 2**53
    rows.refuse(column.is_null() | column.is_nan(), column, what, "is missing", "supply it or remove the row")
    rows.refuse(column.abs() >= exact, column, what, "is a float too large to be an exact id", _REMEDY)
    rows.refuse(column != column.floor(), column, what, "is no whole number", _REMEDY)
    return column.cast(pl.Int64).cast(pl.String)
