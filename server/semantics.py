"""Shared semantics at the coordinator: sum the markets' pair counts over the union of their catalogues, factorise, and
give each market the vectors of its own items."""

import numpy as np

from fedrec.errors import RunError
from fedrec.exchange.declaration import CATALOGUE, INSTALL
from fedrec.exchange.payload import Payload
from fedrec.semantics.cooccurrence import CooccurrenceSemantics, PairCounts, sum_pairs
from server.federation import Federation
from strategies.records import array_record


def exchange_semantics(federation: Federation, semantics: CooccurrenceSemantics) -> dict[str, float]:
    """Ask, sum, factorise, install. Returns what is worth an event. Every market must take part."""
    answers = federation.ask(CATALOGUE)
    keys: dict[str, list[str]] = {}
    counts: dict[str, PairCounts] = {}
    for market in federation.markets:
        answer = answers.get(market)
        if answer is None or answer.error is not None:
            raise RunError(f"market {market!r} sent no catalogue: {answer.error if answer else 'no reply'}")
        keys[market], counts[market] = _read(market, answer.payload, semantics.min_count)
    union = sorted({key for items in keys.values() for key in items})
    position = {key: index for index, key in enumerate(union)}
    index = {market: np.array([position[key] for key in items], np.int64) for market, items in keys.items()}
    total = sum_pairs((counts[market].placed(index[market], len(union)) for market in keys), len(union))
    vectors = semantics.vectors(total)  # [union, e]
    installed = federation.ask(
        INSTALL, {market: array_record({"semantics": vectors[index[market]]}) for market in keys}
    )
    for market in federation.markets:
        answer = installed.get(market)
        if answer is None or answer.error is not None:
            raise RunError(f"market {market!r} has no semantics: {answer.error if answer else 'no reply'}")
    known = int(np.count_nonzero(vectors.any(axis=1)))
    return {"items": len(union), "known_items": known, "pairs": len(total.count)}


def _read(market: str, payload: Payload, min_count: int) -> tuple[list[str], PairCounts]:
    """Check a market's catalogue before it may touch the sum."""
    items = payload.texts.get("items")
    parts = [payload.arrays.get(name) for name in ("first", "second", "count")]
    if not isinstance(items, list) or len(set(items)) != len(items) or not items:
        raise RunError(f"market {market!r}: catalogue is not a list of distinct item keys")
    if any(part is None or part.dtype != np.int32 or part.ndim != 1 for part in parts):
        raise RunError(f"market {market!r}: pair counts must be three one-dimensional int32 arrays")
    first, second, count = (np.asarray(part, np.int32) for part in parts)
    if not len(first) == len(second) == len(count):
        raise RunError(f"market {market!r}: pair counts of unequal length")
    if len(first) and not (first.min() >= 0 and (first < second).all() and second.max() < len(items)):
        raise RunError(f"market {market!r}: pair counts name items outside its catalogue")
    if len(count) and count.min() < min_count:
        raise RunError(f"market {market!r}: a pair count below semantics.min_count {min_count}")
    return items, PairCounts(first, second, count, len(items))
