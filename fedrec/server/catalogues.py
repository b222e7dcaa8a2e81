"""What the coordinator makes of the markets' catalogues: a vocabulary, shared semantics, summed item-item counts.

Every exchange is one question and one answer to it: markets send keys (and counts over them), the server adds up over
the union of the keys, and each market gets back what concerns it. All markets must take part.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import RunError
from fedrec.exchange.declaration import CATALOGUE, GRAM, INSTALL, STATISTICS, VOCABULARY
from fedrec.exchange.keys import read_keys
from fedrec.exchange.lookup_table import TABLE, table_shape
from fedrec.exchange.noised_pairs import PAIRS, RIDGE, largest_noised, noise_edge, read_triangle, symmetric, triangle_of
from fedrec.exchange.noised_statistics import VARIANCE
from fedrec.exchange.pairs import PairCounts, SummedCounts, pairs_of, read_pairs, sum_pairs
from fedrec.exchange.payload import Array, Payload
from fedrec.exchange.statistics import TOGETHER, Statistics, read_statistics, sum_statistics
from fedrec.masking.following import OpenedSum, decoded
from fedrec.recipe import FedEaseSettings
from fedrec.runs.shared import SharedItems, SharedStatistics
from fedrec.semantics.alignment import align_vectors
from fedrec.semantics.counted import CountedSemantics
from fedrec.server.federation import Federation
from fedrec.server.masks import MaskedSum
from fedrec.strategies.masked import MaskedRound
from fedrec.strategies.records import Answer, array_record

Counts = TypeVar("Counts")
_MAX_DENSE = 30_000  # items: their pairs take 3.6 GB


@dataclass(frozen=True)
class Union:
    """The union of some catalogues, and where each market's items stand in it."""

    items: list[str]  # sorted keys
    index: dict[str, NDArray[np.int64]]  # market -> position of each of its items

    @classmethod
    def of(cls, catalogues: dict[str, list[str]]) -> "Union":
        """Build from the markets' key lists."""
        items = sorted({key for keys in catalogues.values() for key in keys})
        position = {key: index for index, key in enumerate(items)}
        index = {market: np.array([position[key] for key in keys], np.int64) for market, keys in catalogues.items()}
        return cls(items, index)


@dataclass(frozen=True)
class SharedSemantics:
    """Item vectors of the whole federation; a zero row has no evidence."""

    items: list[str]
    vectors: NDArray[np.float32]  # [union, e]
    pairs: int
    aligned: int = 0  # items that decided how the vectors were turned to those of an earlier run


def share_vocabulary(federation: Federation) -> int:
    """Give every market the union of all catalogues; returns its size."""
    answers = federation.require(VOCABULARY)
    union = Union.of(_own_keys(federation, answers))
    texts = {"vocabulary": union.items}
    if federation.recipe.evaluation.catalogue == "union":  # validation ranks less: keys of train rows alone
        told = _own_keys(federation, answers, "learned")
        known = set(union.items)
        texts["learned"] = [key for key in Union.of(told).items if key in known]
    federation.require(INSTALL, texts=texts)
    return len(union.items)


def share_semantics(
    federation: Federation,
    semantics: CountedSemantics,
    noise: Mapping[str, float],
    onto: SharedItems | None = None,
) -> SharedSemantics:
    """Factorise the summed counts of item pairs and give each market the vectors of its own items.

    ``noise``: under privacy the standard deviation of each market's; then what comes is noised and dense. ``onto``: the
    vectors that the model of an earlier run was trained on; the new ones are turned to them.
    """
    if noise:
        union, matrix = _sum_noised(federation, CATALOGUE, noise)
        vectors = semantics.vectors_of_noised(matrix, noise_edge(union.index, noise, len(union.items)))
        pairs = len(union.items) * (len(union.items) + 1) // 2
    else:
        union, total = _sum_counts(federation, CATALOGUE, semantics.min_count, diagonal=False)
        vectors, pairs = semantics.vectors(total), len(total.count)  # [union, e]
    aligned = 0
    if onto is not None:
        vectors, aligned = align_vectors(union.items, vectors, onto.keys, onto.vectors)
    federation.require(
        INSTALL, {market: array_record({"semantics": vectors[index]}) for market, index in union.index.items()}
    )
    return SharedSemantics(union.items, vectors, pairs, aligned)


def share_counted_semantics(
    federation: Federation, semantics: CountedSemantics, counted: SharedStatistics
) -> SharedSemantics:
    """As :func:`share_semantics`, of pairs that were counted and summed before: no market counts them again.

    A second count over other rows could be subtracted from the first, and the difference is of single users.
    """
    counts = counted.statistics.pairs[TOGETHER].of_two()
    items = SharedItems(counted.keys, semantics.vectors(counts))
    install_semantics(federation, items)
    return SharedSemantics(items.keys, items.vectors, len(counts.count))


def install_semantics(federation: Federation, items: SharedItems) -> dict[str, int]:
    """Give the markets the vectors of their items that the federation knows; others get zeros."""
    vectors = {market: items.of(keys) for market, keys in _ranked(federation).items()}
    federation.require(INSTALL, {market: array_record({"semantics": rows}) for market, rows in vectors.items()})
    known = sum(int(np.count_nonzero(rows.any(axis=1))) for rows in vectors.values())
    return {"items": sum(map(len, vectors.values())), "known_items": known, "pairs": 0}


def share_gram(federation: Federation, settings: FedEaseSettings, noise: Mapping[str, float]) -> dict[str, int]:
    """Sum the Gram matrices and give each market the part its EASE needs; returns what is worth an event.

    ``noise``: as of :func:`share_semantics`.
    """
    if noise:
        return _share_noised(federation, noise)
    union, total = _sum_counts(federation, GRAM, settings.min_count, diagonal=True)
    parts = {}
    for market, index in union.index.items():
        before = settings.restrict == "before"
        part = SummedCounts(total.restricted(index), np.arange(len(index))) if before else SummedCounts(total, index)
        parts[market] = array_record(part.arrays())
    federation.require(INSTALL, parts)
    return {"items": len(union.items), "pairs": len(total.count)}


def share_noised_statistics(federation: Federation, noise: Mapping[str, float]) -> dict[str, int]:
    """Sum the markets' noised pairs and give each market what it makes a ranker's statistics of the others of."""
    return _share_noised(federation, noise, STATISTICS)


def _share_noised(federation: Federation, noise: Mapping[str, float], action: str = GRAM) -> dict[str, int]:
    union, matrix = _sum_noised(federation, action, noise)
    parts, summed = {}, np.zeros(len(union.items))
    for market, index in union.index.items():
        summed[index] += noise[market] ** 2
    for market, index in union.index.items():
        position = np.full(len(union.items), -1, np.int64)
        position[index] = np.arange(len(index))
        among = {other: found[found >= 0] for other, found in ((m, position[i]) for m, i in union.index.items())}
        ridge = np.array([noise_edge(among, noise, len(index))], np.float32)
        told: dict[str, Array] = {PAIRS: triangle_of(matrix[np.ix_(index, index)]), RIDGE: ridge}
        if action == STATISTICS:  # what is left when a market has taken out its own
            told[VARIANCE] = (summed[index] - noise[market] ** 2).astype(np.float32)
        parts[market] = array_record(told)
    federation.require(INSTALL, parts)
    return {"items": len(union.items), "pairs": len(union.items) * (len(union.items) + 1) // 2}


def share_statistics(federation: Federation, min_count: int) -> SharedStatistics:
    """Sum the markets' statistics; each market gets those of all others among its own items.

    Under masks it gets those of all, and takes out its own.
    """
    if federation.recipe.masks.enabled:
        return _share_masked_statistics(federation)
    union, counts = _ask_counts(
        federation, STATISTICS, lambda arrays, size, users: read_statistics(arrays, size, min_count, users)
    )
    try:
        total = sum_statistics([counts[m].placed(union.index[m], len(union.items)) for m in federation.markets])
        parts = {market: total.restricted(index).without(counts[market]) for market, index in union.index.items()}
    except ValueError as error:
        raise RunError(f"{STATISTICS}: {error}") from None
    federation.require(INSTALL, {market: array_record(part.arrays()) for market, part in parts.items()})
    return SharedStatistics(union.items, total)


def _share_masked_statistics(federation: Federation) -> SharedStatistics:
    catalogues = _ranked(federation)
    union = Union.of(catalogues)

    def room(under: MaskedSum) -> tuple[int, ...]:
        return table_shape(sum(int(float(found.weight)) for found in under.announcements.values()))

    opened = _sum_masked(federation, STATISTICS, union, False, TABLE, room)
    try:
        total = Statistics.of_table(opened.sums[TABLE], len(union.items))
    except ValueError as error:
        raise RunError(f"{STATISTICS}: {error}") from None
    texts = {**opened.texts(), "union": union.items}
    federation.require(INSTALL, texts=texts, opened=array_record(opened.sums))  # who summed it sees that it is the sum
    return SharedStatistics(union.items, total)


def install_statistics(federation: Federation, shared: SharedStatistics) -> dict[str, int]:
    """Give markets that were not there what the federation says of their items; returns what is worth an event."""
    catalogues = _ranked(federation)
    parts = {market: shared.of(keys) for market, keys in catalogues.items()}
    federation.require(INSTALL, {market: array_record(part.arrays()) for market, part in parts.items()})
    return {"items": sum(map(len, catalogues.values())), "pairs": sum(part.known_pairs for part in parts.values())}


def _ranked(federation: Federation) -> dict[str, list[str]]:
    """The keys that every market ranks, by their answers to VOCABULARY."""
    catalogues = _own_keys(federation, federation.require(VOCABULARY))
    if federation.recipe.ranks_union:  # every market's catalogue is that of all
        catalogues = dict.fromkeys(federation.markets, Union.of(catalogues).items)
    return catalogues


def _masked_pairs(federation: Federation, action: str, noised: bool) -> tuple[Union, NDArray[np.float64]]:
    """The sum of the markets' pairs over the union of their items: its upper triangle."""
    union = Union.of(_ranked(federation))
    _refuse_too_dense(union)
    pairs = len(union.items) * (len(union.items) + 1) // 2
    opened = _sum_masked(federation, action, union, noised, PAIRS, lambda _: (pairs,))
    return union, decoded(opened.sums, len(federation.markets), federation.recipe)[PAIRS]


def _sum_masked(
    federation: Federation,
    action: str,
    union: Union,
    noised: bool,
    name: str,
    shape: Callable[[MaskedSum], tuple[int, ...]],
) -> OpenedSum:
    """The sum of an array of every market's, of which nobody sees a part. All markets must take part.

    Item keys are exchanged before, because masked numbers must mean the same everywhere.
    """
    under = MaskedSum.open(federation, action, 0, federation.markets, {}, union.items)
    if under.members != federation.markets:
        market, why = next(iter(sorted(under.failed.items())))
        raise RunError(f"{action}: market {market!r} failed: {why}")
    masked = MaskedRound(under.weights, federation.recipe.masks.range, noised, under.reveal)
    asked = {market: {**under.texts(market), "union": union.items} for market in under.members}
    replies = federation.ask_each(action, asked)
    payloads: dict[str, Payload] = {}
    expected = {name: shape(under)}
    for market in federation.markets:
        answer = replies.get(market)
        if answer is None or answer.error is not None:
            raise RunError(f"{action}: market {market!r} failed: {answer.error if answer else 'no reply'}")
        reason = masked.reason_to_reject(answer.payload, expected, action)
        if reason is not None:
            raise RunError(f"market {market!r}: {reason}")
        payloads[market] = answer.payload
    masked.sums(payloads)
    if under.opened is None:
        raise RunError(f"{action}: the sum was not opened")
    return under.opened


def _sum_noised(federation: Federation, action: str, noise: Mapping[str, float]) -> tuple[Union, NDArray[np.float32]]:
    """The sum of the markets' noised pairs over the union of their items, [N, N]."""
    if federation.recipe.masks.enabled:
        union, summed = _masked_pairs(federation, action, noised=True)
        return union, symmetric(np.asarray(summed, np.float32), len(union.items))
    answers = federation.require(action)
    catalogues = {market: _ranked_keys(federation, market, answer.payload) for market, answer in answers.items()}
    union = Union.of(catalogues)
    _refuse_too_dense(union)
    total = np.zeros((len(union.items), len(union.items)), np.float32)
    for market in federation.markets:
        try:
            most = largest_noised(federation.members[market].users, noise[market])
            triangle = read_triangle(answers[market].payload.arrays, len(catalogues[market]), most)
        except ValueError as error:
            raise RunError(f"market {market!r}: {error}") from None
        index = union.index[market]
        total[np.ix_(index, index)] += symmetric(triangle, len(index))
    return union, total


def _refuse_too_dense(union: Union) -> None:
    """Noised and masked pairs come dense: raise :class:`RunError` for more of them than memory is likely to hold."""
    if len(union.items) > _MAX_DENSE:
        raise RunError(
            f"{len(union.items)} items in all: noised or masked pairs of so many do not fit; at most {_MAX_DENSE} do"
        )


def _sum_counts(federation: Federation, action: str, min_count: int, diagonal: bool) -> tuple[Union, PairCounts]:
    if federation.recipe.masks.enabled:
        union, triangle = _masked_pairs(federation, action, noised=False)
        return union, pairs_of(triangle, len(union.items))
    union, counts = _ask_counts(
        federation, action, lambda arrays, size, users: read_pairs(arrays, size, min_count, diagonal, users)
    )
    placed = (counts[market].placed(union.index[market], len(union.items)) for market in federation.markets)
    try:
        return union, sum_pairs(placed, len(union.items))
    except ValueError as error:
        raise RunError(f"{action}: {error}") from None


def _ask_counts(
    federation: Federation, action: str, read: Callable[[Mapping[str, Array], int, int], Counts]
) -> tuple[Union, dict[str, Counts]]:
    """What every market says over its own keys, and the union of these; ``read`` takes arrays, items and users."""
    catalogues: dict[str, list[str]] = {}
    counts: dict[str, Counts] = {}
    for market, answer in federation.require(action).items():
        catalogues[market] = _ranked_keys(federation, market, answer.payload)
        try:
            users = federation.members[market].users
            counts[market] = read(answer.payload.arrays, len(catalogues[market]), users)
        except ValueError as error:
            raise RunError(f"market {market!r}: {error}") from None
    return Union.of(catalogues), counts


def _own_keys(federation: Federation, answers: Mapping[str, Answer], name: str = "items") -> dict[str, list[str]]:
    """What the markets sell themselves, by their answers to VOCABULARY."""
    most = {market: federation.members[market].items for market in answers}
    return {market: _keys(market, answer.payload, name, most[market]) for market, answer in answers.items()}


def _ranked_keys(federation: Federation, market: str, payload: Payload) -> list[str]:
    """What a market ranks, by its answer to CATALOGUE, GRAM or STATISTICS."""
    return _keys(market, payload, "items", federation.largest_catalogue(market))


def _keys(market: str, payload: Payload, name: str, most: int) -> list[str]:
    try:
        return read_keys(payload.texts, name, most)
    except ValueError as error:
        raise RunError(f"market {market!r}: its catalogue cannot be: {error}") from None
