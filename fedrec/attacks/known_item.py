"""What statistics give away to somebody who knows one item of a user, for sure and without a guess."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.exchange.statistics import TOGETHER, Statistics


@dataclass(frozen=True)
class GivenAway:
    """By known item, [I]."""

    item: NDArray[np.bool_]  # whether another item is sure
    items: NDArray[np.float64]  # how many are
    time: NDArray[np.bool_]  # whether it is sure how long before or after it another was had
    month: NDArray[np.bool_]  # whether its own month is sure


def given_away(statistics: Statistics) -> GivenAway:
    """Where as many users have a pair as have one item of it, whoever has that item has the other; so with months."""
    size = statistics.size
    users = statistics.pairs[TOGETHER].matrix().diagonal()
    item, time, items = np.zeros(size, bool), np.zeros(size, bool), np.zeros(size)
    for kind, counts in statistics.pairs.items():
        matrix = counts.matrix()
        for one in (matrix, matrix.T) if counts.directed else (matrix,):
            cells = one.tocoo()
            certain = cells.row[(cells.data == users[cells.row]) & (cells.row != cells.col)]
            if kind == TOGETHER:
                item[certain] = True
                items += np.bincount(certain, minlength=size)
            else:
                time[certain] = True
    month, monthly = np.zeros(size, bool), statistics.monthly
    month[monthly.item[monthly.count == users[monthly.item]]] = True
    return GivenAway(item, items, time, month)
