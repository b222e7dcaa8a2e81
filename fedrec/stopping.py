"""Early stopping: keep the best of a sequence of candidates and say when to give up."""

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
