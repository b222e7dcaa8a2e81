"""Early stopping: keep the best of a sequence of candidates and say when to give up."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Candidate = TypeVar("Candidate")


@dataclass
class EarlyStopping(Generic[Candidate]):
    """Remembers the candidate with the best score; ties keep the earlier one.

    ``in_all``: patience ends after so many offers that brought nothing better, in a row or not.

    >>> watch = EarlyStopping[str](patience=2)
    >>> [watch.offer(score, name) for score, name in [(0.1, "a"), (0.3, "b"), (0.2, "c"), (0.3, "d")]]
    [False, False, False, True]
    >>> watch.best
    'b'
    >>> watch = EarlyStopping[str](patience=2, in_all=True)
    >>> [watch.offer(score, name) for score, name in [(0.1, "a"), (0.0, "b"), (0.2, "c"), (0.2, "d")]]
    [False, False, False, True]
    """

    patience: int
    score: float = float("-inf")
    best: Candidate | None = None
    best_index: int = -1
    offered: int = 0
    in_all: bool = False
    misses: int = 0

    def offer(self, score: float, candidate: Candidate) -> bool:
        """Take note of the next candidate; True when ``patience`` offers brought nothing better."""
        if score > self.score:
            self.score, self.best, self.best_index = score, candidate, self.offered
        else:
            self.misses += 1
        self.offered += 1
        return (self.misses if self.in_all else self.offered - 1 - self.best_index) >= self.patience


def over_markets(values: Iterable[float]) -> float:
    """The one figure of several markets that a choice is made by: their mean without the ends.

    Of four markets or more, the lowest and the highest fifth (one of each at least) do not count: no single market can
    move the figure beyond what the others say. Raises :class:`ValueError` where there is none.

    >>> over_markets([0.25, 0.5, 0.75])
    0.5
    >>> over_markets([0.0, 0.25, 0.5, 1.0])
    0.375
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no market said anything")
    cut = max(1, len(ordered) // 5) if len(ordered) >= 4 else 0
    kept = ordered[cut : len(ordered) - cut]
    return math.fsum(kept) / len(kept)


def is_better(figures: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether a model is better than the best so far, by the figures of the markets that validated both.

    A market that is silent about one of two models says nothing of which is better: it cannot choose by keeping silent.

    >>> is_better({"a": 0.2, "b": 0.3}, {"b": 0.2, "c": 0.9})
    True
    """
    common = sorted(set(figures) & set(best))
    if not common:
        return False
    return over_markets(figures[one] for one in common) > over_markets(best[one] for one in common)


def best_of(offers: Sequence[Mapping[str, float]]) -> int:
    """Which of the offers, compared one after the other, is kept; of none, -1."""
    best = -1
    for place, figures in enumerate(offers):
        if figures and (best < 0 or is_better(figures, offers[best])):
            best = place
    return best


def decided_by(offers: Sequence[Mapping[str, float]], chosen: int) -> str | None:
    """The one market without whose figures another of the ``offers`` (figures by market) would have been chosen.

    None where there is none, or where several are such markets: then the choice is close, and nobody's.

    >>> decided_by([{"a": 1.0, "b": 0.1, "c": 0.1}, {"a": 0.2, "b": 0.3, "c": 0.3}], chosen=0)
    'a'
    """
    markets = sorted({market for figures in offers for market in figures})
    found = []
    for market in markets:
        others = [{name: value for name, value in figures.items() if name != market} for figures in offers]
        if any(others) and best_of(others) != chosen:
            found.append(market)
    return found[0] if len(found) == 1 else None
