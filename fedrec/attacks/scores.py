"""How well an attack did: separation of members from others, ranked lists, and what it proves about epsilon."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

_FALSE_POSITIVES = 0.01
_GUESSED = (0.05, 0.1, 0.25, 0.5)  # shares of the subjects that are guessed as in, and as many as out
_LARGEST_EPSILON = 50.0

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Separation:
    """Members told from others by one score."""

    auc: float
    tpr: float  # of members at one false alarm in a hundred others
    members: int
    others: int


def separation(scores: Floats, member: Bools) -> Separation:
    """Of ``scores`` [N], high for a member, and who is one [N]. Raises ``ValueError`` without both kinds."""
    members = int(member.sum())
    if not 0 < members < len(member):
        raise ValueError(f"{members} members of {len(member)} subjects: there is nothing to tell apart")
    false, true, _ = roc_curve(member, scores, drop_intermediate=False)
    return Separation(
        float(roc_auc_score(member, scores)),
        float(true[false <= _FALSE_POSITIVES].max()),
        members,
        len(member) - members,
    )


def precision_at(scores: Floats, truth: Bools, count: int) -> float:
    """Share of the ``count`` highest of ``scores`` [N] that are true [N]; fewer where there are no more."""
    best = _best(scores, count)
    return float(truth[best].mean()) if len(best) else 0.0


def recall_at(scores: Floats, truth: Bools, count: int) -> float:
    """Share of the true ones among the ``count`` highest, of as many as could be there."""
    possible = min(count, int(truth.sum()))
    return float(truth[_best(scores, count)].sum() / possible) if possible else 0.0


def epsilon_at_least(scores: Floats, member: Bools, delta: float, confidence: float = 0.95) -> float:
    """The epsilon that a mechanism must have, at ``confidence``, for guesses by ``scores`` [N] to be so often right.

    One-run auditing (Steinke, Nasr & Jagielski, NeurIPS 2023, Theorem 5.2): a fair coin has decided for each of N
    subjects, on its own, whether it takes part. The highest scores are guessed to be in, as many of the lowest to be
    out. Several numbers of guesses are tried; the confidence is shared among them. 0 says that nothing was proved.
    """
    order = np.argsort(-scores, kind="stable")
    best = 0.0
    for share in _GUESSED:
        each = int(share * len(scores))
        if each == 0:
            continue
        right = int(member[order[:each]].sum() + (~member[order[-each:]]).sum())
        doubt = (1 - confidence) / len(_GUESSED)
        best = max(best, _least_epsilon(len(scores), 2 * each, right, delta, doubt))
    return best


def largest_provable(subjects: int, delta: float) -> float:
    """What :func:`epsilon_at_least` would say if every single guess were right: no audit with so many can say more."""
    member = np.arange(subjects) % 2 == 0
    return epsilon_at_least(member.astype(np.float64), member, delta)


def _least_epsilon(subjects: int, guesses: int, right: int, delta: float, doubt: float) -> float:
    """The largest epsilon that so many right guesses refute, by bisection (the chance of them grows with epsilon)."""
    if chance_of(subjects, guesses, right, 0.0, delta) > doubt:
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if chance_of(subjects, guesses, right, middle, delta) <= doubt else (low, middle)
    return low


def chance_of(subjects: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """At most how likely ``right`` or more right guesses are under (epsilon, delta)-privacy."""
    each = 1 / (1 + np.exp(-epsilon))
    likely = float(stats.binom.sf(right - 1, guesses, each))
    before = np.cumsum(stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, each))  # of the last i before ``right``
    slack = float((before / np.arange(1, len(before) + 1)).max(initial=0.0))
    return min(1.0, likely + 2 * subjects * delta * slack)


def _best(scores: Floats, count: int) -> NDArray[np.int64]:
    return np.argsort(-scores, kind="stable")[:count]
