"""What the coordinator makes of the markets' catalogues: a vocabulary, shared semantics, summed item-item counts.

Every exchange is one question and one answer to it: markets send keys (and counts over them), the server adds up over
the union of the keys, and each market gets back what concerns it. All markets must take part.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import RunError
from fedrec.exchange.declaration import CATALOGUE, GRAM, INSTALL, VOCABULARY
from fedrec.exchange.keys import read_keys
from fedrec.exchange.pairs import PairCounts, SummedCounts, read_pairs, sum_pairs
from fedrec.exchange.payload import Payload
from fedrec.recipe import FedEaseSettings
from fedrec.runs.shared import SharedItems
from fedrec.semantics.cooccurrence import CooccurrenceSemantics
from server.federation import Federation
from strategies.records import array_record


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


def share_vocabulary(federation: Federation) -> int:
    """Give every market the union of all catalogues; returns its size."""
    answers = federation.require(VOCABULARY)
    union = Union.of({market: _keys(market, answer.payload) for market, answer in answers.items()})
    federation.require(INSTALL, texts={"vocabulary": union.items})
    return len(union.items)


def share_semantics(federation: Federation, semantics: CooccurrenceSemantics) -> SharedSemantics:
    """Factorise the summed counts of item pairs and give each market the vectors of its own items."""
    union, total = _sum_counts(federation, CATALOGUE, semantics.min_count, diagonal=False)
    vectors = semantics.vectors(total)  # [union, e]
    federation.require(
        INSTALL, {market: array_record({"semantics": vectors[index]}) for market, index in union.index.items()}
    )
    return SharedSemantics(union.items, vectors, len(total.count))


def install_semantics(federation: Federation, items: SharedItems) -> dict[str, int]:
    """Give markets that were not there the vectors of their items that the federation knows; others get zeros."""
    answers = federation.require(VOCABULARY)
    vectors = {market: items.of(_keys(market, answer.payload)) for market, answer in answers.items()}
    federation.require(INSTALL, {market: array_record({"semantics": rows}) for market, rows in vectors.items()})
    known = sum(int(np.count_nonzero(rows.any(axis=1))) for rows in vectors.values())
    return {"items": sum(map(len, vectors.values())), "known_items": known, "pairs": 0}


def share_gram(federation: Federation, settings: FedEaseSettings) -> dict[str, int]:
    """Sum the Gram matrices and give each market the part its EASE needs; returns what is worth an event."""
    union, total = _sum_counts(federation, GRAM, settings.min_count, diagonal=True)
    parts = {}
    for market, index in union.index.items():
        before = settings.restrict == "before"
        part = SummedCounts(total.restricted(index), np.arange(len(index))) if before else SummedCounts(total, index)
        parts[market] = array_record(part.arrays())
    federation.require(INSTALL, parts)
    return {"items": len(union.items), "pairs": len(total.count)}


def _sum_counts(federation: Federation, action: str, min_count: int, diagonal: bool) -> tuple[Union, PairCounts]:
    answers = federation.require(action)
    catalogues: dict[str, list[str]] = {}
    counts: dict[str, PairCounts] = {}
    for market, answer in answers.items():
        catalogues[market] = _keys(market, answer.payload)
        try:
            counts[market] = read_pairs(answer.payload.arrays, len(catalogues[market]), min_count, diagonal)
        except ValueError as error:
            raise RunError(f"market {market!r}: {error}") from None
    union = Union.of(catalogues)
    placed = (counts[market].placed(union.index[market], len(union.items)) for market in federation.markets)
    try:
        return union, sum_pairs(placed, len(union.items))
    except ValueError as error:
        raise RunError(f"{action}: {error}") from None


def _keys(market: str, payload: Payload) -> list[str]:
    try:
        return read_keys(payload.texts, "items")
    except ValueError as error:
        raise RunError(f"market {market!r}: its catalogue cannot be: {error}") from None
