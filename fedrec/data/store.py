"""The market store: one folder a market, written by importers, the only form in which data is read.

A store holds ``interactions.parquet`` (in the source's row order, which breaks ties), ``items.parquet``,
``market.yaml`` and, where variants of one product are known, ``families.csv`` (item_id,family).
"""

import csv
import hashlib
import io
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from fedrec.data.columns import Columns
from fedrec.errors import DataError, UserError
from fedrec.exchange.keys import LONGEST_KEY
from fedrec.files import market_name, write_atomic
from fedrec.strict_yaml import dump_yaml, parse_yaml
from fedrec.words import cleaned, unseen

SCHEMA = 2
EARLIEST = 631_152_000  # 1990-01-01: older dates are errors of the source
_LATEST = 253_402_214_400  # 9999-12-31, the last day that calendars of Python know
_MAX_ROWS = 10**12
_AGAIN = "; import the data again"
_BLOCK = 2**20  # rows that are written as text, or read, at a time
# What polars raises for a damaged file; its parser of parquet panics at some.
UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
INTERACTIONS = pl.Schema(
    {
        Columns.USER: pl.String,
        Columns.ITEM: pl.String,
        Columns.TIMESTAMP: pl.Int64,
        Columns.VALUE: pl.Float64,
        Columns.UTC_OFFSET: pl.Int32,
    }
)
FAMILIES_OF_USERS, ITEMS_DECLARED = "families_of_users", "items_declared"
_ITEMS = pl.Schema(dict.fromkeys(Columns.ITEMS, pl.String))


@dataclass(frozen=True)
class MarketStore:
    """One market's data on this machine."""

    path: Path
    name: str
    time_resolution: str
    users: int
    items: int
    count: int
    content_hash: str
    source: str
    families_of_users: bool = False  # whether the map of families was made of the users' interactions
    items_declared: bool = False  # whether the list of items is the operator's word, not made of the rows

    def scan(self) -> pl.LazyFrame:
        """The rows, for counting in more of them than memory holds; verified as :attr:`rows` are."""
        path = self.path / "interactions.parquet"
        rows = _scan_parquet(path, INTERACTIONS)
        if hash_of_blocks(parquet_blocks(path, remedy=_AGAIN)) != self.content_hash:
            raise UserError(f"{self.path}: interactions differ from market.yaml; import the data again")
        return rows

    @property
    def interactions(self) -> pl.DataFrame:
        """All interactions in the source's row order: user, item, moment, value."""
        return self.rows.drop(Columns.UTC_OFFSET)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The interactions, and the offset that each was written with; verified against the hash in ``market.yaml``."""
        frame = _read_parquet(self.path / "interactions.parquet", INTERACTIONS)
        if content_hash(frame) != self.content_hash or not self._describes(frame):
            raise UserError(f"{self.path}: interactions differ from market.yaml; import the data again")
        return frame

    def _describes(self, frame: pl.DataFrame) -> bool:
        """Whether the rows are as many as said, of as many users and items, and each is whole."""
        times = frame[Columns.TIMESTAMP]
        return (
            0 < frame.height == self.count
            and sum(frame.null_count().row(0)) == 0
            and frame[Columns.USER].n_unique() == self.users
            and frame[Columns.ITEM].n_unique() == self.items
            and EARLIEST <= int(times.min()) <= int(times.max()) < _LATEST  # type: ignore[arg-type]
        )

    @cached_property
    def catalogue(self) -> pl.DataFrame:
        """One row an item: id, title, brand, category."""
        return _read_parquet(self.path / "items.parquet", _ITEMS)

    @cached_property
    def families(self) -> dict[str, str] | None:
        """Item to family, or None where no map was taken along."""
        path = self.path / "families.csv"
        return read_families(path) if path.is_file() else None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides results: interactions, item texts, families."""
        families = "" if self.families is None else _families_csv(self.families)
        text = self.content_hash + self.catalogue.write_csv() + families
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def has_text(self) -> bool:
        """Whether any item has a title, brand or category."""
        return any(self.catalogue[name].null_count() < self.catalogue.height for name in Columns.TEXT)


def content_hash(interactions: pl.DataFrame) -> str:
    """SHA-256 over the rows in order, independent of how parquet lays them out."""
    return hash_of_blocks([interactions])


def hash_of_blocks(blocks: Iterable[pl.DataFrame]) -> str:
    """:func:`content_hash` of what the blocks are together, one block or more."""
    digest, first = hashlib.sha256(), True
    for block in blocks:
        for part in block.select(Columns.INTERACTIONS).iter_slices(_BLOCK):
            digest.update(part.write_csv(include_header=first).encode())
            first = False
    return digest.hexdigest()


def replace_families(store: MarketStore, families: dict[str, str]) -> None:
    """Give a store a map that was made of users' interactions, and note that."""
    path = store.path / "market.yaml"
    description: Any = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    write_families(store.path / "families.csv", families)
    write_atomic(path, dump_yaml({**description, FAMILIES_OF_USERS: True}).encode())


def open_store(path: Path) -> MarketStore:
    """Open one market's folder; raises :class:`UserError` when it is none."""
    description_path = path / "market.yaml"
    if not description_path.is_file():
        raise UserError(f"{path}: not a market store (no market.yaml); make one with `fedrec data import`")
    try:
        values: Any = parse_yaml(description_path.read_text(encoding="utf-8"), str(description_path))
        if values["schema"] != SCHEMA:
            found = cleaned(str(values["schema"]), 20)
            raise UserError(f"{description_path}: schema {found} is not {SCHEMA}; import the data again")
        return MarketStore(
            path=path,
            name=market_name(str(values["name"]), str(description_path)),
            time_resolution=cleaned(str(values["time_resolution"]), 20),
            users=_count(values["users"]),
            items=_count(values["items"]),
            count=_count(values["interactions"]),
            content_hash=str(values["content_hash"]),
            source=cleaned(str(values["source"]), 200),
            families_of_users=values.get(FAMILIES_OF_USERS, False) is True,
            items_declared=values.get(ITEMS_DECLARED, False) is True,
        )
    except (UserError, UnicodeDecodeError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{description_path}: unreadable ({cleaned(repr(error), 100)}); import the data again"
        ) from None


def store_version(path: Path) -> tuple[str, ...]:
    """Changes whenever a file of the market's folder does: who has opened it in this version has what is there."""
    files = (path / name for name in ("market.yaml", "interactions.parquet", "items.parquet", "families.csv"))
    found = (file.stat() for file in files if file.exists())
    return tuple(f"{one.st_ino} {one.st_size} {one.st_mtime_ns} {one.st_ctime_ns}" for one in found)


def open_stores(directory: Path, names: list[str] | None = None) -> list[MarketStore]:
    """Open the markets of a data folder, sorted by name; ``names`` picks some of them."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such data folder; make one with `fedrec data import` or `data synth`")
    stores: dict[str, MarketStore] = {}
    for entry in sorted(directory.glob("*/market.yaml")):
        store = open_store(entry.parent)
        if store.name in stores:
            raise UserError(f"{entry.parent}: market {store.name!r} is also in {stores[store.name].path}; remove one")
        stores[store.name] = store
    if not stores:
        raise UserError(f"{directory}: holds no market store; make one with `fedrec data import` or `data synth`")
    missing = sorted(set(names or ()) - set(stores))
    if missing:
        raise UserError(f"data.markets: {', '.join(missing)} not in {directory}; it has {', '.join(stores)}")
    return [stores[name] for name in sorted(names or stores)]


def read_families(path: Path) -> dict[str, str]:
    """Read an item-to-family map (CSV, header ``item_id,family``)."""
    header = f"{Columns.ITEM},{Columns.FAMILY}"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None
    if not lines or lines[0].strip() != header:
        raise UserError(f"{path}: line 1 must be {header!r}")
    families: dict[str, str] = {}
    reader = csv.reader(lines[1:])
    try:
        for fields in reader:
            number = reader.line_num + 1
            if len(fields) != 2 or not all(fields):
                raise DataError(f"{path}: line {number}: {len(fields)} fields; write item_id,family, none empty")
            item, family = (unicodedata.normalize("NFC", field) for field in fields)
            if unseen(fields) or max(map(len, fields)) > LONGEST_KEY or not all(field.strip() for field in fields):
                raise DataError(f"{path}: line {number}: blank, over {LONGEST_KEY} characters, or some nobody sees")
            if families.setdefault(item, family) != family:
                raise DataError(f"{path}: line {number}: item {item[:60]!r} already belongs to {families[item][:60]!r}")
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num + 1}: not readable as CSV ({error})") from None
    return families


def write_families(path: Path, families: dict[str, str]) -> None:
    """Write an item-to-family map, sorted by item."""
    write_atomic(path, _families_csv(families).encode())


def _families_csv(families: dict[str, str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([(Columns.ITEM, Columns.FAMILY), *sorted(families.items())])
    return buffer.getvalue()


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < _MAX_ROWS:
        raise ValueError("a size is no count")
    return value


def _read_parquet(path: Path, schema: pl.Schema) -> pl.DataFrame:
    with _reading_part(path):
        frame = pl.read_parquet(io.BytesIO(path.read_bytes()))  # a path may hold what polars takes for a pattern
    _check_schema(path, frame.schema, schema)
    return frame


def _scan_parquet(path: Path, schema: pl.Schema) -> pl.LazyFrame:
    with _reading_part(path):
        rows = pl.scan_parquet(path, glob=False)
        found = rows.collect_schema()
    _check_schema(path, found, schema)
    return rows


@contextmanager
def _reading_part(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise UserError(f"{path}: missing; import the data again")
    with reading_parquet(path, _AGAIN):
        yield


def _check_schema(path: Path, found: pl.Schema, schema: pl.Schema) -> None:
    if found != schema:
        raise UserError(f"{path}: its {len(found)} columns are not {', '.join(schema)}; import the data again")


def parquet_blocks(
    path: Path, columns: Sequence[str] | None = None, size: int | None = None, remedy: str = ""
) -> Iterator[pl.DataFrame]:
    """The rows of a file in their order, ``size`` at a time, with these columns; errors as :func:`reading_parquet`."""
    with reading_parquet(path, remedy):
        rows = pl.scan_parquet(path, glob=False)
        chosen = rows if columns is None else rows.select(list(dict.fromkeys(columns)))
        batches = iter(chosen.collect_batches(chunk_size=size or _BLOCK, maintain_order=True, lazy=True))
    while True:
        with reading_parquet(path, remedy):
            block = next(batches, None)
        if block is None:
            return
        yield block


@contextmanager
def reading_parquet(path: Path, remedy: str = "") -> Iterator[None]:
    """Raise :class:`UserError` that names the file where polars cannot read it."""
    try:
        with without_panics():
            yield
    except UNREADABLE as error:
        raise UserError(f"{path}: not readable as parquet ({cleaned(str(error), 120)}){remedy}") from None


@contextmanager
def without_panics() -> Iterator[None]:
    """Keep off standard error what polars' parser writes there itself, pages of it, where a damaged file stops it."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: nothing can be written there
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
