"""The nearest items of every item by cosine: by comparing all, or for many items through a graph of near ones."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

SIMILARITIES = 2**24  # held at a time: 64 MB
# A graph of near items (HNSW, Malkov & Yashunin, arXiv 1603.09320): links of an item, and how many are looked at.
_LINKS, _BREADTH = 16, 64


def nearest_items(vectors: Tensor, known: Tensor, k: int, exact_items: int, held: int) -> tuple[Tensor, Tensor]:
    """The ``k`` items nearest to each of I ``vectors`` [I, e], cut to I, and their cosines: [I, k] each, nearest first.

    An item is not its own neighbour, and one that is not ``known`` [I] is nobody's: where fewer are left, cosines are
    -inf. More than ``exact_items`` are searched approximately. ``held``: similarities in memory at a time.
    """
    unit = F.normalize(vectors, dim=-1)
    k = min(k, len(unit))
    return _all_compared(unit, known, k, held) if len(unit) <= exact_items else _searched(unit, known, k)


def _all_compared(unit: Tensor, known: Tensor, k: int, held: int) -> tuple[Tensor, Tensor]:
    indices, values = [], []
    chunk = max(1, held // len(unit))
    for start in range(0, len(unit), chunk):
        similarity = unit[start : start + chunk] @ unit.T  # [c, I]
        rows = torch.arange(len(similarity), device=unit.device)
        similarity[rows, rows + start] = -torch.inf
        similarity[:, ~known] = -torch.inf
        top = similarity.topk(k, dim=-1)
        indices.append(top.indices)
        values.append(top.values)
    return torch.cat(indices), torch.cat(values)


def _searched(unit: Tensor, known: Tensor, k: int) -> tuple[Tensor, Tensor]:
    vectors, places = unit.float().cpu().numpy(), np.flatnonzero(known.cpu().numpy())
    # A graph of vectors that are equal falls apart into islands: it holds each once, and finds groups of items.
    distinct, group = np.unique(vectors[places], axis=0, return_inverse=True)
    near, cosines = _graph_search(distinct, vectors, k + 1)  # [I, k + 1] groups
    members, starts = (
        places[np.argsort(group, kind="stable")],
        np.searchsorted(np.sort(group), np.arange(len(distinct))),
    )
    sizes = np.append(np.bincount(group, minlength=len(distinct)), 0)[near]  # nothing found, -1, has no members
    ends = np.cumsum(sizes, axis=1)  # [I, k + 1]
    items, values = np.zeros((len(vectors), k + 1), np.int64), np.full((len(vectors), k + 1), -np.inf, np.float32)
    rows = np.arange(len(vectors))
    for place in range(k + 1):  # the item at each place, from the group in which that place lies
        which = (ends <= place).sum(axis=1)  # [I]
        there = which < k + 1
        row, column = rows[there], which[there]
        within = place - (ends[row, column] - sizes[row, column])
        items[row, place] = members[starts[near[row, column]] + within]
        values[row, place] = cosines[row, column]
    values[items == rows[:, None]] = -np.inf  # an item itself goes last, and is cut off
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return (
        torch.from_numpy(np.take_along_axis(items, order, axis=1)).to(unit.device),
        torch.from_numpy(np.take_along_axis(values, order, axis=1)).to(unit.device),
    )


def _graph_search(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places of the vectors nearest to each query, -1 where no more are found, and their products: [Q, count] each."""
    import faiss  # heavy, and small catalogues have no use for it

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # a graph that several threads build is another one every time
    try:
        graph = faiss.IndexHNSWFlat(queries.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction, graph.hnsw.efSearch = _BREADTH, max(_BREADTH, 2 * count)
        graph.add(np.ascontiguousarray(vectors))
        products, found = graph.search(queries, count)
    finally:
        faiss.omp_set_num_threads(threads)
    return found, products
