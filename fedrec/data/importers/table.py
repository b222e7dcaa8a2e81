"""From a table with one row an interaction to market stores: what all tabular importers have in common.

A source is read twice, block by block: first for the ids that occur, which decide how they are written, then for the
rows. What is held is a block, every id once, every text of an item once, and rows that wait to be written. Rows of a
market whose times have fractions of a second are put in order in memory.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.distinct import Distinct
from fedrec.data.importers.ids import read_ids
from fedrec.data.importers.item_texts import ItemTexts
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.refusal import Rows
from fedrec.data.importers.report import ImportReport, shared_user_note
from fedrec.data.importers.times import Resolution, read_times
from fedrec.data.store_writer import FRACTION, StoreWriter
from fedrec.errors import UserError
from fedrec.files import market_name, new_folder

Declared = Callable[[str, pl.DataFrame], pl.DataFrame]
MARKET, ROW = "market", "row"  # ROW: where the row stands in the source, for errors
_HELD = 2_000_000  # rows in memory that wait to be written
_IDS = (Columns.USER, Columns.ITEM, MARKET)


class Source(ABC):
    """What an importer reads: a table, as often as it is wanted."""

    path: Path
    schema: pl.Schema

    @abstractmethod
    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Its rows from the first on, some at a time, with these columns at least; default: all."""


@dataclass(frozen=True)
class Table:
    """One row an interaction, by the names of a store's columns, with MARKET and ROW; ``origin``: the file."""

    origin: str
    blocks: Callable[[], Iterator[pl.DataFrame]]


def numbered(source: Source, chosen: Mapping[str, str], market: str | None, first: int) -> Table:
    """Columns of a source by the names that they get, its rows counted from ``first``; ``market``: that of all rows."""
    picked = [pl.col(column).alias(name) for name, column in chosen.items()]
    if market is not None:
        picked.append(pl.lit(market).alias(MARKET))

    def blocks() -> Iterator[pl.DataFrame]:
        row = first
        for block in source.blocks(list(chosen.values())):
            yield block.select(*picked, pl.int_range(row, row + pl.len()).alias(ROW))
            row += block.height

    return Table(str(source.path), blocks)


def market_slug(text: str) -> str:
    """A safe market name made of free text: "United Kingdom" is "united-kingdom"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()  # "Côte" is "cote"
    return re.sub(r"[^a-z0-9]+", "-", plain.strip().lower()).strip("-")


def write_markets(
    table: Table, directory: Path, source: str, options: ImportOptions, declared: Declared | None = None
) -> ImportReport:
    """Write one store per value of MARKET; text columns become the items' texts.

    ``declared``: what a market sells by its own word, from its name and the items that occur; default: the latter.
    Raises :class:`DataError` for the first row that is not valid.
    """
    ids, notes, count = _read_ids(table)
    names = _names(ids[MARKET], options, source)
    ids[MARKET] = ids[MARKET].with_columns(pl.col("id").replace_strict(names, default=None))
    said: list[str] = []
    with new_folder(directory) as scratch:
        markets = {name: _Market(StoreWriter(scratch / name, name, source)) for name in sorted(set(names.values()))}
        for block in table.blocks():
            count -= block.height
            checked, told = _checked(block, ids, table.origin, options)
            said += [note for note in told if note not in said]
            for (name,), rows in checked.partition_by(MARKET, as_dict=True, maintain_order=True).items():
                markets[str(name)].add(rows)
            _make_room([market.writer for market in markets.values()])
        if count:
            raise _changed(table.origin)
        notes += [note for note in said if not any(other != note and other.startswith(note) for other in said)]
        users: dict[str, pl.Series] = {}
        for name, market in markets.items():
            people = market.writer.users
            if len(people) < options.min_users:
                notes.append(f"market {name} left out: {len(people)} users, fewer than {options.min_users}")
                market.writer.discard()
                continue
            users[name] = people
            found = market.items.table()
            items = found if declared is None else declared(name, found)
            notes += undeclared_note(name, found, items)
            market.writer.close(market.resolution.word, items, items_declared=declared is not None)
        if not users:
            raise UserError(f"--min-users {options.min_users}: leaves no market of {source}; lower it")
    return ImportReport(tuple(users), (*notes, *shared_user_note(users)))


def undeclared_note(market: str, found: pl.DataFrame, items: pl.DataFrame) -> list[str]:
    """Of items that occur in a market's rows (``found``) and are not in its list ``items``; else nothing."""
    others = len(found.join(items, on=Columns.ITEM, how="anti"))
    if not others:
        return []
    said = f"market {market}: {others} of {len(found)} items that occur are not declared"
    return [f"{said}; under privacy their rows do not count"]


class _Market:
    """What is known of a market when all its rows are written."""

    def __init__(self, writer: StoreWriter) -> None:
        self.writer = writer
        self.items = ItemTexts()
        self.resolution = Resolution()

    def add(self, rows: pl.DataFrame) -> None:
        self.items.add(rows)
        self.resolution.add(rows[Columns.TIMESTAMP] + rows[Columns.UTC_OFFSET])
        self.writer.add(rows)


def _make_room(writers: Sequence[StoreWriter]) -> None:
    """Where markets hold many rows, those with most of them put theirs aside."""
    held = sum(writer.held for writer in writers)
    if held <= _HELD:
        return
    for writer in sorted(writers, key=lambda one: -one.held):
        if held <= _HELD // 2:
            return
        held -= writer.held
        writer.flush()


def _changed(origin: str) -> UserError:
    return UserError(f"{origin}: changed while it was read; import it again")


def _read_ids(table: Table) -> tuple[dict[str, pl.DataFrame], list[str], int]:
    """By column, every value that occurs (``raw``) and the id that it is (``id``).

    Also what is worth saying of them, and how many rows there are.
    """
    occurring = {name: Distinct(name) for name in _IDS}
    count = 0
    for block in table.blocks():
        count += block.height
        for name, values in occurring.items():
            values.add(block.select(name, ROW))
    if not count:
        raise UserError(f"{table.origin}: holds no rows; supply some")
    result, notes = {}, []
    for name, values in occurring.items():
        found = values.rows
        ids, said = read_ids(found[name], Rows(table.origin, found[ROW]), name, markets=name == MARKET)
        result[name] = pl.DataFrame({"raw": found[name], "id": ids})
        notes += said
    return result, notes, count


def _checked(
    block: pl.DataFrame, ids: dict[str, pl.DataFrame], origin: str, options: ImportOptions
) -> tuple[pl.DataFrame, list[str]]:
    """Rows with user, item, market, time, offset, fraction of a second and value, all valid; and what to say of times.

    Raises :class:`DataError` for the first that is not.
    """
    rows = Rows(origin, block[ROW])
    for name, known in ids.items():
        found = pl.col(name).replace_strict(known["raw"], known["id"], default=None, return_dtype=pl.String)
        block = block.with_columns(found)
        if block[name].has_nulls():
            raise _changed(origin)
    times = read_times(block[Columns.TIMESTAMP], rows, options.time_format, options.timezone)
    block = block.with_columns(
        times.seconds.alias(Columns.TIMESTAMP),
        times.offsets.alias(Columns.UTC_OFFSET),
        times.fractions.alias(FRACTION),
    )
    if Columns.VALUE not in block.columns:
        return block.with_columns(pl.lit(1.0).alias(Columns.VALUE)), times.notes
    values = block[Columns.VALUE]
    if not values.dtype.is_numeric():
        values = values.cast(pl.String)
    values = values.cast(pl.Float64, strict=False)
    wrong = values.is_null() | ~values.is_finite().fill_null(False)
    rows.refuse(wrong, block[Columns.VALUE], "value", "is not a finite number", "correct or remove the row")
    return block.with_columns(values.alias(Columns.VALUE)), times.notes


def _names(markets: pl.DataFrame, options: ImportOptions, source: str) -> dict[str, str]:
    """The name of the store that each market of the source goes to."""
    names = {text: market_slug(text) for text in markets["id"].unique().sort()}
    by_name: dict[str, str] = {}
    for text, name in names.items():
        market_name(name, f"{source}: market {text!r}")
        if by_name.setdefault(name, text) != text:
            raise UserError(f"{source}: markets {by_name[name]!r} and {text!r} would both be {name!r}; rename one")
    known = set(by_name)
    target = {member: name for name, members in options.merge.items() for member in members}
    unknown = sorted(set(target) - known)
    if unknown:
        raise UserError(f"--merge: {unknown[0]!r} is no market of {source}; it has {', '.join(sorted(known))}")
    clash = sorted(name for name in options.merge if name in known and target.get(name) != name)
    if clash:
        raise UserError(f"--merge: {clash[0]!r} is a market already; choose another name")
    return {text: target.get(name, name) for text, name in names.items()}
