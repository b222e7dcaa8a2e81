"""From a table with one row an interaction to market stores: what all tabular importers have in common."""

import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.report import ImportReport, shared_user_note
from fedrec.data.store import EARLIEST, write_store
from fedrec.errors import DataError, UserError
from fedrec.exchange.keys import LONGEST_KEY
from fedrec.files import market_name, new_folder

MARKET, ROW = "market", "row"  # ROW: where the row stands in the source, for errors
_MILLISECONDS = 100_000_000_000  # a later second would lie in the year 5138
_DAY = 86400
_CLOCKS = ("%H:%M", "%H:%M%#z", "%H:%M:%S%.f", "%H:%M:%S%.f%#z")
_ISO = ("%Y-%m-%d", *(f"%Y-%m-%d{between}{clock}" for between in " T" for clock in _CLOCKS))


def market_slug(text: str) -> str:
    """A safe market name made of free text: "United Kingdom" is "united-kingdom"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()  # "Côte" is "cote"
    return re.sub(r"[^a-z0-9]+", "-", plain.strip().lower()).strip("-")


def seconds(column: pl.Series, rows: pl.Series, origin: str, time_format: str | None) -> pl.Series:
    """Times as seconds since 1970; raises :class:`DataError` naming the first row that is none.

    Numbers are seconds, or milliseconds from 1e11 on. Texts are ISO 8601, or whatever ``time_format`` says.
    """
    if column.dtype.is_temporal():
        moments = column.cast(pl.Datetime("us")).dt.epoch("s")
    elif time_format is not None:
        moments = column.cast(pl.String).str.to_datetime(time_format, strict=False).dt.epoch("s")
    else:
        numbers = column.cast(pl.Float64, strict=False)
        exact = pl.when(numbers >= _MILLISECONDS).then(numbers / 1000).otherwise(numbers).floor()
        moments = pl.select(exact.cast(pl.Int64, strict=False)).to_series()
        texts = column.cast(pl.String)
        for form in _ISO:
            moments = moments.fill_null(_parsed(texts, form))
    remedy = "write ISO 8601 or seconds since 1970, or give --time-format"
    _refuse(moments.is_null(), column, rows, origin, "time", "is no time", remedy)
    latest = int(datetime.now(UTC).timestamp()) + _DAY  # a day of grace: somewhere it is already tomorrow
    outside = (moments < EARLIEST) | (moments > latest)
    _refuse(outside, column, rows, origin, "time", "lies before 1990 or in the future", "correct or remove the row")
    return moments.cast(pl.Int64)


def _parsed(texts: pl.Series, form: str) -> pl.Series:
    """Seconds since 1970, null where a text has another form; times without a zone are taken for UTC."""
    return texts.str.to_datetime(form, strict=False, time_unit="us").dt.epoch("s")


def checked(frame: pl.DataFrame, origin: str, time_format: str | None) -> pl.DataFrame:
    """Rows with user, item, time, value and ROW, all valid; raises :class:`DataError` for the first that is not."""
    rows = frame[ROW]
    for name in (Columns.USER, Columns.ITEM):
        texts = frame[name].cast(pl.String).str.strip_chars()
        missing = texts.is_null() | (texts == "")
        _refuse(missing, frame[name], rows, origin, name, "is missing", "supply it or remove the row")
        long = texts.str.len_chars() > LONGEST_KEY
        _refuse(long, texts.str.head(40), rows, origin, name, f"has over {LONGEST_KEY} characters", "shorten it")
        frame = frame.with_columns(texts.alias(name))
    frame = frame.with_columns(seconds(frame[Columns.TIMESTAMP], rows, origin, time_format).alias(Columns.TIMESTAMP))
    if Columns.VALUE not in frame.columns:
        return frame.with_columns(pl.lit(1.0).alias(Columns.VALUE))
    values = frame[Columns.VALUE].cast(pl.Float64, strict=False)
    wrong = values.is_null() | ~values.is_finite().fill_null(False)
    _refuse(wrong, frame[Columns.VALUE], rows, origin, "value", "is not a finite number", "correct or remove the row")
    return frame.with_columns(values.alias(Columns.VALUE))


def write_markets(frame: pl.DataFrame, directory: Path, source: str, options: ImportOptions) -> ImportReport:
    """Write one store per value of MARKET. ``frame`` is :func:`checked`; text columns become the items' texts."""
    notes: list[str] = []
    names = {text: market_slug(str(text)) for text in frame[MARKET].unique().sort().drop_nulls()}
    by_name: dict[str, str] = {}
    for text, name in names.items():
        market_name(name, f"{source}: market {text!r}")
        if by_name.setdefault(name, text) != text:
            raise UserError(f"{source}: markets {by_name[name]!r} and {text!r} would both be {name!r}; rename one")
    frame = frame.with_columns(pl.col(MARKET).replace_strict(names, default=None))
    if frame[MARKET].null_count():
        row = frame.filter(pl.col(MARKET).is_null())[ROW][0]
        raise DataError(f"{source}: row {row}: the market is missing; supply it or remove the row")
    frame = _merged(frame, options, source)
    users: dict[str, set[str]] = {}
    with new_folder(directory) as scratch:
        for name in frame[MARKET].unique().sort():
            own = frame.filter(pl.col(MARKET) == name)
            ids = set(own[Columns.USER])
            if len(ids) < options.least_users:
                notes.append(f"market {name} left out: {len(ids)} users, fewer than {options.least_users}")
                continue
            users[name] = ids
            write_store(
                scratch / name,
                name,
                own,
                source=source,
                time_resolution=resolution(own[Columns.TIMESTAMP]),
                items=item_table(own),
            )
        if not users:
            raise UserError(f"--least-users {options.least_users}: leaves no market of {source}; lower it")
    return ImportReport(tuple(users), (*notes, *shared_user_note(users)))


def item_table(frame: pl.DataFrame) -> pl.DataFrame:
    """One row an item with the text that most of its rows have (ties: the first in the alphabet); null where none."""
    texts = [name for name in Columns.TEXT if name in frame.columns]
    cleaned = frame.with_columns(
        pl.col(name).cast(pl.String).str.strip_chars().replace("", None).alias(name) for name in texts
    )
    table = cleaned.group_by(Columns.ITEM).agg(pl.col(name).drop_nulls().mode().sort().first() for name in texts)
    missing = [pl.lit(None, pl.String).alias(name) for name in Columns.TEXT if name not in texts]
    return table.with_columns(missing).sort(Columns.ITEM).select(Columns.ITEMS)


def resolution(times: pl.Series) -> str:
    """How finely a source tells time: ``month`` (always one day of the month), ``day``, ``minute`` or ``second``."""
    moments = pl.from_epoch(times)
    if (times % _DAY == 0).all():
        return "month" if moments.dt.day().n_unique() == 1 and moments.n_unique() > 1 else "day"
    return "minute" if (times % 60 == 0).all() else "second"


def _merged(frame: pl.DataFrame, options: ImportOptions, source: str) -> pl.DataFrame:
    known = set(frame[MARKET])
    target = {member: name for name, members in options.merge.items() for member in members}
    unknown = sorted(set(target) - known)
    if unknown:
        raise UserError(f"--merge: {unknown[0]!r} is no market of {source}; it has {', '.join(sorted(known))}")
    clash = sorted(name for name in options.merge if name in known and target.get(name) != name)
    if clash:
        raise UserError(f"--merge: {clash[0]!r} is a market already; choose another name")
    return frame.with_columns(pl.col(MARKET).replace(target))


def _refuse(
    wrong: pl.Series, values: pl.Series, rows: pl.Series, origin: str, what: str, why: str, remedy: str
) -> None:
    for index in wrong.arg_true()[:1]:
        raise DataError(f"{origin}: row {rows[index]}: {what} {values[index]!r} {why}; {remedy}")
