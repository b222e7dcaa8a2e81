"""How often items were sold up to a day: own sales by the day, those of other markets from the end of their month."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.statistics import MONTH_DAYS, Events, Monthly

_DAYS = 1 << 20  # more than any day is
NEVER = -_DAYS


class Sales:
    """Weighted sales of items by day."""

    def __init__(
        self, items: NDArray[np.int64], days: NDArray[np.int64], counts: NDArray[np.float64], item_count: int
    ) -> None:
        self._begin = int(days.min(initial=0))  # may lie before 1970
        keys = items * _DAYS + days - self._begin
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._total = np.concatenate([[0.0], np.cumsum(counts[order])])
        self._days, row = np.unique(days, return_inverse=True)
        self._by_day = sparse.csr_matrix((counts, (row, items)), shape=(len(self._days), item_count))

    @classmethod
    def of(cls, own: Events, others: Monthly | None = None) -> "Sales":
        """A market's own interactions, and those of the others."""
        items, days, counts = own.items, own.days, np.ones(len(own.items))
        if others is not None:
            items = np.concatenate([items, others.item.astype(np.int64)])
            days = np.concatenate([days, (others.month.astype(np.int64) + 1) * MONTH_DAYS - 1])
            counts = np.concatenate([counts, others.count])
        return cls(items, days, counts, own.item_count)

    def until(self, items: NDArray[np.int64], days: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each item up to and with a day, [N]."""
        since = np.clip(days - self._begin, -1, _DAYS - 1)  # -1: before the first sale of all
        ends = np.searchsorted(self._keys, items * _DAYS + since, side="right")
        starts = np.searchsorted(self._keys, items * _DAYS, side="left")
        return np.asarray(np.where(since < 0, 0.0, self._total[ends] - self._total[starts]))

    def window(self, days: NDArray[np.int64], length: int) -> NDArray[np.float32]:
        """Of every item in the ``length`` days before each day and on it, [B, I]."""
        low = np.searchsorted(self._days, days - length, side="left")
        high = np.searchsorted(self._days, days, side="right")
        sizes = high - low
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - low, sizes)
        rows = sparse.csr_matrix((np.ones(len(inside)), inside, offsets), shape=(len(days), len(self._days)))
        return np.asarray((rows @ self._by_day).toarray(), np.float32)

    def first(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """The day of each item's first sale; ``NEVER`` where there is none."""
        place = np.searchsorted(self._keys, items * _DAYS, side="left")
        return self._day(place, items)

    def last(self, items: NDArray[np.int64], days: NDArray[np.int64]) -> NDArray[np.int64]:
        """The day of each item's last sale up to a day; ``NEVER`` where there is none."""
        since = np.clip(days - self._begin, -1, _DAYS - 1)
        return self._day(np.searchsorted(self._keys, items * _DAYS + since, side="right") - 1, items)

    def _day(self, place: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self._keys):
            return np.full(len(items), NEVER)
        keys = self._keys[np.clip(place, 0, len(self._keys) - 1)]
        there = (place >= 0) & (place < len(self._keys)) & (keys // _DAYS == items)
        return np.where(there, keys % _DAYS + self._begin, NEVER)
