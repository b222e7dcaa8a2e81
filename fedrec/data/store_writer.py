"""Writing market stores: whole, or block by block where there are more rows than memory holds."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.distinct import Distinct
from fedrec.data.store import (
    FAMILIES_OF_USERS,
    INTERACTIONS,
    ITEMS_DECLARED,
    SCHEMA,
    MarketStore,
    hash_of_blocks,
    parquet_blocks,
    write_families,
)
from fedrec.errors import UserError
from fedrec.files import market_name, write_atomic
from fedrec.strict_yaml import dump_yaml

FRACTION = "fraction"  # column of microseconds within the second: they order rows, and are not kept
_TYPES: dict[Any, Any] = {**dict(INTERACTIONS), FRACTION: pl.Int32}


class StoreWriter:
    """Rows of one market, taken in their order, until :meth:`close` makes a store of them.

    Raises :class:`UserError` for an unsafe name and for an empty market.
    """

    def __init__(self, path: Path, name: str, source: str) -> None:
        market_name(name, str(path))
        self.path = path
        self.name = name
        self.source = source
        self.held = 0  # rows that are in memory
        self._held: list[pl.DataFrame] = []
        self._parts: list[Path] = []
        self._users, self._items = Distinct(Columns.USER), Distinct(Columns.ITEM)
        self._rows = 0
        self._fractions = False

    @property
    def users(self) -> pl.Series:
        """Each user whose rows were taken, once."""
        return self._users.rows[Columns.USER]

    def add(self, interactions: pl.DataFrame) -> None:
        """Rows of the columns of a store; ``utc_offset`` and FRACTION default to zero."""
        for name in (Columns.UTC_OFFSET, FRACTION):
            if name not in interactions.columns:
                interactions = interactions.with_columns(pl.lit(0, pl.Int32).alias(name))
        rows = interactions.select(*Columns.INTERACTIONS, FRACTION).cast(_TYPES)
        self._users.add(rows.select(Columns.USER))
        self._items.add(rows.select(Columns.ITEM))
        self._fractions = self._fractions or bool((rows[FRACTION] != 0).any())
        self._rows += rows.height
        self.held += rows.height
        self._held.append(rows)

    def close(
        self,
        time_resolution: str,
        items: pl.DataFrame | None = None,
        families: dict[str, str] | None = None,
        families_of_users: bool = False,
        items_declared: bool = False,
    ) -> None:
        """Write the store; see :func:`write_store`. Where times have fractions of a second, they order the rows."""
        if not self._rows:
            raise UserError(f"{self.source}: market {self.name!r} has no interactions; leave it out or supply its rows")
        ids = self._items.rows[Columns.ITEM].sort()
        if items is None:
            items = pl.DataFrame({Columns.ITEM: ids}, schema_overrides={Columns.ITEM: pl.String}).with_columns(
                *(pl.lit(None, pl.String).alias(text) for text in Columns.TEXT)
            )
        self.path.mkdir(parents=True, exist_ok=True)
        digest = self._write_rows()
        write_atomic(self.path / "items.parquet", _parquet_bytes(items.select(Columns.ITEMS)))
        if families is not None:
            known = sorted({*ids, *items[Columns.ITEM]})
            write_families(self.path / "families.csv", {item: families[item] for item in known if item in families})
        description = {
            "schema": SCHEMA,
            "name": self.name,
            "time_resolution": time_resolution,
            "users": len(self.users),
            "items": len(ids),
            "interactions": self._rows,
            "content_hash": digest,
            "source": self.source,
            **({FAMILIES_OF_USERS: True} if families_of_users else {}),
            **({ITEMS_DECLARED: True} if items_declared else {}),
        }
        write_atomic(self.path / "market.yaml", dump_yaml(description).encode())

    def discard(self) -> None:
        """Forget what was taken."""
        self._held, self.held = [], 0
        shutil.rmtree(self.path, ignore_errors=True)

    def flush(self) -> None:
        """Put the rows that are held aside, on disk."""
        if not self._held:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{len(self._parts):06d}.parquet"
        pl.concat(self._held).write_parquet(part, compression="lz4", statistics=False)
        self._parts.append(part)
        self._held, self.held = [], 0

    @property
    def _folder(self) -> Path:
        return self.path / ".parts"

    def _write_rows(self) -> str:
        """Write ``interactions.parquet``; its hash."""
        target = self.path / "interactions.parquet"
        if not self._parts:
            frame = self._ordered(pl.concat(self._held).lazy()).collect()
            write_atomic(target, _parquet_bytes(frame))
            return hash_of_blocks([frame])
        self.flush()
        parts = pl.concat([pl.scan_parquet(part, glob=False) for part in self._parts])
        whole = self._folder / target.name
        self._ordered(parts).sink_parquet(whole, compression="zstd", statistics=False, maintain_order=True)
        with whole.open("rb") as stream:
            os.fsync(stream.fileno())
        whole.replace(target)
        shutil.rmtree(self._folder)
        return hash_of_blocks(parquet_blocks(target))

    def _ordered(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        if self._fractions:
            rows = rows.sort(Columns.TIMESTAMP, FRACTION, maintain_order=True)
        return rows.drop(FRACTION)


def write_store(
    path: Path,
    name: str,
    interactions: pl.DataFrame,
    *,
    source: str,
    time_resolution: str,
    items: pl.DataFrame | None = None,
    families: dict[str, str] | None = None,
    families_of_users: bool = False,
    items_declared: bool = False,
) -> None:
    """Write one market. ``items`` defaults to the ids that occur, without text; ``utc_offset`` to zero.

    ``families``: of items that occur or are listed, whoever bought them; ``families_of_users`` and
    ``items_declared``: see :class:`MarketStore`.

    Raises :class:`UserError` for an unsafe name and for an empty market.
    """
    writer = StoreWriter(path, name, source)
    writer.add(interactions)
    writer.close(time_resolution, items, families, families_of_users, items_declared)


def copy_store(store: MarketStore, path: Path, interactions: pl.DataFrame) -> None:
    """Write a market anew with other ``interactions``; all that is known of its items stays."""
    write_store(
        path,
        store.name,
        interactions,
        source=store.source,
        time_resolution=store.time_resolution,
        items=store.catalogue,
        families=store.families,
        families_of_users=store.families_of_users,
        items_declared=store.items_declared,
    )


def _parquet_bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()
