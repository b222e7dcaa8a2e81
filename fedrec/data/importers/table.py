"""From a table with one row an interaction to market stores: what all tabular importers have in common."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.importers.ids import MISSING, read_ids
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.refusal import Rows
from fedrec.data.importers.report import ImportReport, shared_user_note
from fedrec.data.importers.times import read_times
from fedrec.data.protocols import DAY_SECONDS
from fedrec.data.store import write_store
from fedrec.errors import UserError
from fedrec.files import market_name, new_folder

_NO_TEXT = r"[\p{Cc}\p{Zl}\p{Zp}\x{061c}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}]+"
Declared = Callable[[str, pl.DataFrame], pl.DataFrame]
MARKET, ROW = "market", "row"  # ROW: where the row stands in the source, for errors


def market_slug(text: str) -> str:
    """A safe market name made of free text: "United Kingdom" is "united-kingdom"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()  # "Côte" is "cote"
    return re.sub(r"[^a-z0-9]+", "-", plain.strip().lower()).strip("-")


def checked(frame: pl.DataFrame, origin: str, options: ImportOptions) -> tuple[pl.DataFrame, list[str]]:
    """Rows with user, item, time, offset, value and ROW, all valid, and what is worth saying of them.

    Raises :class:`DataError` for the first that is not.
    """
    rows, notes = Rows(origin, frame[ROW]), []
    for name in (Columns.USER, Columns.ITEM, MARKET):
        ids, said = read_ids(frame[name], rows, name, markets=name == MARKET)
        frame = frame.with_columns(ids.alias(name))
        notes += said
    times = read_times(frame[Columns.TIMESTAMP], rows, options.time_format, options.timezone)
    frame = frame.with_columns(times.seconds.alias(Columns.TIMESTAMP), times.offsets.alias(Columns.UTC_OFFSET))
    notes += times.notes
    if (times.fractions != 0).any():  # stores keep seconds, and break ties by the order of rows
        exact = [pl.col(Columns.TIMESTAMP), times.fractions.alias("fraction")]
        frame = frame[frame.select(pl.arg_sort_by(exact, maintain_order=True)).to_series()]
        rows = Rows(origin, frame[ROW])
    if Columns.VALUE not in frame.columns:
        return frame.with_columns(pl.lit(1.0).alias(Columns.VALUE)), notes
    values = frame[Columns.VALUE]
    if not values.dtype.is_numeric():
        values = values.cast(pl.String)
    values = values.cast(pl.Float64, strict=False)
    wrong = values.is_null() | ~values.is_finite().fill_null(False)
    rows.refuse(wrong, frame[Columns.VALUE], "value", "is not a finite number", "correct or remove the row")
    return frame.with_columns(values.alias(Columns.VALUE)), notes


def write_markets(
    frame: pl.DataFrame, directory: Path, source: str, options: ImportOptions, declared: Declared | None = None
) -> ImportReport:
    """Write one store per value of MARKET. ``frame`` is :func:`checked`; text columns become the items' texts.

    ``declared``: what a market sells by its own word, from its name and the items that occur; default: the latter.
    """
    notes: list[str] = []
    names = {text: market_slug(text) for text in frame[MARKET].unique().sort()}
    by_name: dict[str, str] = {}
    for text, name in names.items():
        market_name(name, f"{source}: market {text!r}")
        if by_name.setdefault(name, text) != text:
            raise UserError(f"{source}: markets {by_name[name]!r} and {text!r} would both be {name!r}; rename one")
    frame = frame.with_columns(pl.col(MARKET).replace_strict(names, default=None))
    frame = _merged(frame, options, source)
    users: dict[str, set[str]] = {}
    with new_folder(directory) as scratch:
        for name in frame[MARKET].unique().sort():
            own = frame.filter(pl.col(MARKET) == name)
            ids = set(own[Columns.USER])
            if len(ids) < options.min_users:
                notes.append(f"market {name} left out: {len(ids)} users, fewer than {options.min_users}")
                continue
            users[name] = ids
            found = item_table(own)
            items = found if declared is None else declared(name, found)
            others = len(found.join(items, on=Columns.ITEM, how="anti"))
            if others:
                notes.append(
                    f"market {name}: {others} of {len(found)} items that occur are not declared; under privacy "
                    "their rows do not count"
                )
            write_store(
                scratch / name,
                name,
                own,
                source=source,
                time_resolution=resolution(own[Columns.TIMESTAMP] + own[Columns.UTC_OFFSET]),
                items=items,
            )
        if not users:
            raise UserError(f"--min-users {options.min_users}: leaves no market of {source}; lower it")
    return ImportReport(tuple(users), (*notes, *shared_user_note(users)))


def item_table(frame: pl.DataFrame) -> pl.DataFrame:
    """One row an item with the text that most of its rows have (ties: the first in the alphabet); null where none.

    What programs write for nothing is none. Texts are in Unicode's composed form (NFC), and what a terminal would obey,
    line ends and marks of direction among it, is a blank in them.
    """
    texts = [name for name in Columns.TEXT if name in frame.columns]
    cleaned = frame.with_columns(
        pl.col(name).cast(pl.String).str.normalize("NFC").str.replace_all(_NO_TEXT, " ").str.strip_chars().alias(name)
        for name in texts
    ).with_columns(
        pl.when(pl.col(name).str.to_lowercase().is_in(["", *sorted(MISSING)]).not_()).then(name).alias(name)
        for name in texts
    )
    table = cleaned.group_by(Columns.ITEM).agg(pl.col(name).drop_nulls().mode().sort().first() for name in texts)
    missing = [pl.lit(None, pl.String).alias(name) for name in Columns.TEXT if name not in texts]
    return table.with_columns(missing).sort(Columns.ITEM).select(Columns.ITEMS)


def resolution(times: pl.Series) -> str:
    """How finely a source tells time, by its clock: ``month`` (always one day), ``day``, ``minute`` or ``second``."""
    moments = pl.from_epoch(times)
    if (times % DAY_SECONDS == 0).all():
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
