"""``--items``: the list of items that each market declares, as a file of its own.

Under privacy models and statistics go over that list, so it must not depend on who bought what: made of the items that
occur, as an import does without the option, it tells of an item that one user alone interacted with.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.importers.ids import read_ids
from fedrec.data.importers.item_texts import item_table
from fedrec.data.importers.options import ROLES
from fedrec.data.importers.refusal import Rows
from fedrec.data.importers.table import MARKET, ROW, market_slug
from fedrec.data.importers.texts import read_text
from fedrec.errors import UserError

_TAKEN = ("item", "title", "brand", "category", "market")


@dataclass(frozen=True)
class DeclaredItems:
    """Items by market, with their texts; those of None are every market's."""

    by_market: dict[str | None, pl.DataFrame]
    origin: Path

    def of(self, market: str, found: pl.DataFrame) -> pl.DataFrame:
        """What a market declares. ``found``: items that occur in its rows, whose texts count where none is declared.

        Raises :class:`UserError` for a market that the file says nothing of.
        """
        own = self.by_market.get(market, self.by_market.get(None))
        if own is None:
            raise UserError(
                f"--items {self.origin}: no rows of market {market!r}; add them, or leave out column market"
            )
        joined = own.join(found, on=Columns.ITEM, how="left", suffix="_found")
        texts = [pl.coalesce(name, f"{name}_found").alias(name) for name in Columns.TEXT]
        return joined.with_columns(texts).select(Columns.ITEMS).sort(Columns.ITEM)


def read_declared(source: Path) -> DeclaredItems:
    """A CSV file with a column ``item``, and optionally title, brand, category and market.

    Raises :class:`UserError` or :class:`DataError` naming file, line or column, and the remedy.
    """
    try:
        frame = pl.read_csv(read_text(source).encode(), infer_schema=False)
    except pl.exceptions.PolarsError:
        raise UserError(f"--items {source}: not readable as CSV; check separator and quotes") from None
    surplus = sorted(set(frame.columns) - set(_TAKEN))
    if "item" not in frame.columns or surplus:
        wrong = f"column {surplus[0]!r} is none of them" if surplus else "column 'item' is missing"
        raise UserError(f"--items {source}: {wrong}; it has item, and optionally title, brand, category and market")
    if frame.is_empty():
        raise UserError(f"--items {source}: holds no rows; supply some")
    frame = frame.select(pl.col(name).alias(ROLES[name]) for name in _TAKEN if name in frame.columns)
    rows = Rows(str(source), pl.int_range(2, frame.height + 2, eager=True).alias(ROW))
    names = [name for name in (Columns.ITEM, MARKET) if name in frame.columns]
    ids = {name: read_ids(frame[name], rows, name, markets=name == MARKET)[0] for name in names}
    if MARKET in ids:
        ids[MARKET] = ids[MARKET].map_elements(market_slug, return_dtype=pl.String)
    frame = frame.with_columns(values.alias(name) for name, values in ids.items())
    twice = frame.select(names).is_duplicated()
    rows.refuse(twice, frame[Columns.ITEM], "item", "is listed twice", "keep one row of it")
    if MARKET not in frame.columns:
        return DeclaredItems({None: item_table(frame)}, source)
    parts = frame.partition_by(MARKET, as_dict=True)
    return DeclaredItems({str(key[0]): item_table(part) for key, part in parts.items()}, source)
