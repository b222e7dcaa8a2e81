"""What occurs in a column that is read block by block."""

import polars as pl

_FEW = 100_000  # values that are not worth putting in order


class Distinct:
    """The rows of blocks that are the first with their value in ``column``, in order."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._parts: list[pl.DataFrame] = []
        self._kept, self._new = 0, 0

    def add(self, block: pl.DataFrame) -> None:
        """Take a block's values along; every block has the same columns."""
        part = block.unique(self._column, keep="first", maintain_order=True)
        self._parts.append(part)
        self._new += len(part)
        if self._new > max(self._kept, _FEW):
            self._merge()

    @property
    def rows(self) -> pl.DataFrame:
        """All of them; raises ``ValueError`` where there was no block."""
        self._merge()
        return self._parts[0]

    def _merge(self) -> None:
        self._parts = [pl.concat(self._parts).unique(self._column, keep="first", maintain_order=True)]
        self._kept, self._new = len(self._parts[0]), 0
