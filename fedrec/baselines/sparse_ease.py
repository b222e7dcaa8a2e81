"""EASE for catalogues whose item-item matrix does not fit: each item's weights over its nearest items alone.

Column j of EASE is the ridge regression of item j on all other items, and there are as many regressions as items. Here
the regression of j is on the ``neighbours`` items that say most of it one by one (n_ij / (n_i + lam), the ridge
regression of j on i alone) among those that share a user with j. With as many neighbours as an item shares users with,
items that never meet it are left out and nothing else. (Regressions of the items that go together: SLIM with selected
features, Ning & Karypis, ICDM 2011; sparse approximations of EASE's inverse: Steck, NeurIPS 2019.)
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg.lapack import dposv

_COMMON = 2048  # items of the longest columns, whose counts among each other are held as a matrix
Ints = NDArray[np.int64]


def sparse_ease_weights(counts: sparse.csr_matrix, lam: float, neighbours: int) -> sparse.csc_matrix:
    """Weights [I, I] of symmetric item-item counts X'X, at most ``neighbours`` in a column, zero diagonal; float32.

    ``lam`` > 0. Counts of which rare pairs were held back may leave a regression without a solution: its ``lam`` is
    doubled until it has one. Scores of a history x [I] are x B. Raises :class:`numpy.linalg.LinAlgError` for counts
    that are not finite.
    """
    columns = sparse.csc_matrix(counts, dtype=np.float64)
    if not np.isfinite(columns.data).all():
        raise np.linalg.LinAlgError("counts that are no numbers")
    columns.sort_indices()
    gather = _Gather(columns)
    users = columns.diagonal()
    starts, rows, values = [0], [], []
    for item in range(columns.shape[1]):
        near, with_item = _nearest(columns, users, item, lam, neighbours)
        rows.append(near)
        values.append(_regression(gather.among(near), with_item, lam).astype(np.float32))
        starts.append(starts[-1] + len(near))
    cells = (np.concatenate(values), np.concatenate(rows), np.array(starts))
    return sparse.csc_matrix(cells, shape=columns.shape)


def _nearest(
    columns: sparse.csc_matrix, users: NDArray[np.float64], item: int, lam: float, neighbours: int
) -> tuple[Ints, NDArray[np.float64]]:
    """Items that an item is regressed on, ascending, and their counts with it; of equal ones the smaller index."""
    part = slice(columns.indptr[item], columns.indptr[item + 1])
    items, both = columns.indices[part], columns.data[part]
    others = (items != item) & (users[items] > 0)
    items, both = items[others], both[others]
    if len(items) > neighbours:
        kept = np.sort(np.lexsort((items, -both / (users[items] + lam)))[:neighbours])
        items, both = items[kept], both[kept]
    return items.astype(np.int64), both


def _regression(among: NDArray[np.float64], with_item: NDArray[np.float64], lam: float) -> NDArray[np.float64]:
    """(among + lam)^-1 with_item, [n]."""
    if not len(with_item):
        return with_item
    diagonal = np.diag_indices_from(among)
    while True:
        regularised = among.copy()
        regularised[diagonal] += lam
        _, found, not_positive = dposv(regularised, with_item, overwrite_a=True)
        if not not_positive:
            return np.asarray(found)
        lam *= 2


class _Gather:
    """Counts among any few items.

    Of two items one has the shorter column, and the cell is looked for there: columns of common items would be walked
    by every item that shares a user with them. Cells of two common items are in a matrix of their own.
    """

    def __init__(self, columns: sparse.csc_matrix) -> None:
        self.columns = columns
        lengths = np.diff(columns.indptr)
        common = np.sort(np.argsort(-lengths, kind="stable")[:_COMMON])
        self.place = np.full(len(lengths), -1)  # [I] among the common ones
        self.place[common] = np.arange(len(common))
        self.common = columns[:, common][common].toarray()
        self.position = np.full(len(lengths), -1)  # [I] among the items that are asked for; -1 between two calls

    def among(self, items: Ints) -> NDArray[np.float64]:
        """Counts [n, n] of pairs of ``items`` [n]."""
        result = np.zeros((len(items), len(items)))
        places = self.place[items]
        common = np.flatnonzero(places >= 0)
        result[np.ix_(common, common)] = self.common[np.ix_(places[common], places[common])]
        rare = np.flatnonzero(places < 0)
        starts = self.columns.indptr[items[rare]].astype(np.int64)
        lengths = self.columns.indptr[items[rare] + 1] - starts
        before = np.cumsum(lengths) - lengths
        cells = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
        self.position[items] = np.arange(len(items))
        rows, columns = self.position[self.columns.indices[cells]], np.repeat(rare, lengths)
        self.position[items] = -1
        asked = rows >= 0
        result[rows[asked], columns[asked]] = result[columns[asked], rows[asked]] = self.columns.data[cells[asked]]
        return result
