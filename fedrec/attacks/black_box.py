"""What many answers, half of them with one user and half without, prove about epsilon.

An answer is boiled down to one number; above a threshold the user is said to be there. Under (epsilon, delta)-privacy
the chances of that with and without the user obey p <= e^epsilon q + delta, both ways round and for the other event
too, so confidence intervals of both give a lower bound (Jagielski, Ullman & Oprea, NeurIPS 2020). The threshold comes
from other runs than those that are counted.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedrec.privacy.accounting import epsilon
from fedrec.privacy.release import Release

Floats = NDArray[np.float64]
_EVENTS = 2  # said to be there, said not to be there; each may be likelier on its own side
_QUANTILES = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True)
class Proof:
    """Lower bounds of epsilon at one delta. ``fitted``: as if both kinds of answer were normally distributed."""

    counted: float
    fitted: float
    provable: float  # what counts of so many answers can show at most


def proof(without: Floats, having: Floats, threshold: float, delta: float, confidence: float = 0.95) -> Proof:
    """From the numbers of answers without the user [N] and with it [M]."""
    most = counted(np.zeros(len(without)), np.ones(len(having)), 0.5, delta, confidence)
    return Proof(
        counted(without, having, threshold, delta, confidence), fitted(without, having, delta, confidence), most
    )


def counted(without: Floats, having: Floats, threshold: float, delta: float, confidence: float = 0.95) -> float:
    """The epsilon that counts above the threshold refute, by exact intervals (Clopper-Pearson); 0 for none."""
    doubt = (1 - confidence) / (2 * _EVENTS)
    above = (int((having > threshold).sum()), len(having)), (int((without > threshold).sum()), len(without))
    below = tuple((count - found, count) for found, count in reversed(above))
    best = 0.0
    for likely, unlikely in (above, below):
        low, high = _least(*likely, doubt), _most(*unlikely, doubt)
        if low > delta:
            best = max(best, math.log((low - delta) / high))
    return best


def fitted(without: Floats, having: Floats, delta: float, confidence: float = 0.95) -> float:
    """The epsilon of two normal distributions as far apart as these are at least, in deviations.

    A Gaussian mechanism has this trade-off, and it needs fewer answers than counts do; it proves nothing of others.
    """
    spread = math.sqrt((without.var(ddof=1) + having.var(ddof=1)) / 2)
    apart = abs(float(having.mean() - without.mean())) / spread
    error = math.sqrt(1 / len(without) + 1 / len(having) + apart**2 / (2 * (len(without) + len(having) - 2)))
    least = apart - float(stats.norm.ppf(confidence)) * error
    return epsilon([Release("fitted", 1 / least)], delta) if least > 0 else 0.0


def best_threshold(without: Floats, having: Floats, count: int, delta: float) -> float:
    """Where ``count`` answers of each kind can be expected to prove most, by answers that are not counted."""
    grid = np.quantile(np.concatenate([without, having]), _QUANTILES)
    places = (np.arange(count) + 0.5) / count
    fewer, more = (np.quantile(side, places) for side in (without, having))
    return float(max(grid, key=lambda threshold: counted(fewer, more, threshold, delta)))


def _least(found: int, count: int, doubt: float) -> float:
    return float(stats.beta.ppf(doubt, found, count - found + 1)) if found else 0.0


def _most(found: int, count: int, doubt: float) -> float:
    return float(stats.beta.ppf(1 - doubt, found + 1, count - found)) if found < count else 1.0
