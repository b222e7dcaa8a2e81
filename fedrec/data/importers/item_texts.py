"""What a source says of items, once for each: its texts, of which the commonest counts."""

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.importers.ids import MISSING

_NO_TEXT = r"[\p{Cc}\p{Zl}\p{Zp}\x{061c}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}]+"
_ROWS = "rows"
_FEW = 100_000  # counts that are not worth adding up


class ItemTexts:
    """Counts of every item's texts, over blocks of rows."""

    def __init__(self) -> None:
        self._parts: dict[str, list[pl.DataFrame]] = {}
        self._kept: dict[str, int] = {}

    def add(self, block: pl.DataFrame) -> None:
        """Count the rows of a block; every block has the same columns."""
        for name in (Columns.ITEM, *(text for text in Columns.TEXT if text in block.columns)):
            columns = list(dict.fromkeys((Columns.ITEM, name)))
            parts = self._parts.setdefault(name, [])
            parts.append(block.group_by(columns).agg(pl.len().cast(pl.Int64).alias(_ROWS)))
            if sum(map(len, parts[1:])) > max(self._kept.get(name, 0), _FEW):
                self._parts[name] = [self._summed(name)]
                self._kept[name] = len(self._parts[name][0])

    def table(self) -> pl.DataFrame:
        """One row an item with the text that most of its rows have (ties: the first in the alphabet); null where none.

        What programs write for nothing is none. Texts are in Unicode's composed form (NFC), and what a terminal would
        obey, line ends and marks of direction among it, is a blank in them.
        """
        result = self._summed(Columns.ITEM).select(Columns.ITEM)
        for name in Columns.TEXT:
            if name not in self._parts:
                result = result.with_columns(pl.lit(None, pl.String).alias(name))
                continue
            text = pl.col(name).cast(pl.String).str.normalize("NFC").str.replace_all(_NO_TEXT, " ").str.strip_chars()
            counted = self._summed(name).with_columns(text.alias(name))
            said = pl.col(name).str.to_lowercase().is_in(["", *sorted(MISSING)]).not_()
            commonest = (
                counted.filter(said)
                .group_by(Columns.ITEM, name)
                .agg(pl.col(_ROWS).sum())
                .sort([_ROWS, name], descending=[True, False])
                .unique(Columns.ITEM, keep="first", maintain_order=True)
            )
            result = result.join(commonest.drop(_ROWS), on=Columns.ITEM, how="left")
        return result.sort(Columns.ITEM).select(Columns.ITEMS)

    def _summed(self, name: str) -> pl.DataFrame:
        columns = list(dict.fromkeys((Columns.ITEM, name)))
        return pl.concat(self._parts[name]).group_by(columns).agg(pl.col(_ROWS).sum())


def item_table(frame: pl.DataFrame) -> pl.DataFrame:
    """The items of a frame, as :meth:`ItemTexts.table` has them."""
    texts = ItemTexts()
    texts.add(frame)
    return texts.table()
