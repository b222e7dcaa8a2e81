"""What a market's releases cost: epsilon at a delta, by the accountants of Google's dp-accounting.

The unit is one user within one market, with all interactions; neighbouring data sets differ by adding or removing one
user. A person with accounts in k markets counts k times. All releases of a market compose in one epsilon.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Literal

from dp_accounting.dp_event import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import PrivacyAccountant
from dp_accounting.rdp import RdpAccountant
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri

from fedrec.privacy.kept import recall, remember
from fedrec.privacy.release import Release

UNIT = "user within a market"
RELATION = "add or remove one user"
AccountantName = Literal["pld", "rdp"]
_ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512, 1024)  # whole ones are exact and quick
_ACCOUNTANTS: dict[str, Callable[[], PrivacyAccountant]] = {
    "pld": PLDAccountant,
    "coarse": lambda: PLDAccountant(value_discretization_interval=1e-3),  # a little above "pld"
    "rdp": lambda: RdpAccountant(_ORDERS),
}

_MIN_NOISE, _MAX_NOISE = 0.2, 10_000.0
_MAX_STEPS = 200  # of a search
_TOLERANCE = 1e-3  # of the epsilon that noise is searched for


def event_of(release: Release) -> DpEvent:
    """A release as dp-accounting sees it."""
    event: DpEvent = GaussianDpEvent(release.noise_multiplier)
    if release.sampling < 1:
        event = PoissonSampledDpEvent(release.sampling, event)
    return SelfComposedDpEvent(event, release.steps)


def epsilon(releases: Iterable[Release], delta: float, accountant: str = "pld") -> float:
    """Epsilon of all the releases together at ``delta`` in (0, 1); infinite where one of them has no noise.

    Of Gaussian noise without sampling it is exact, whatever the accountant (Balle & Wang, ICML 2018, Theorem 8).
    """
    steps: Counter[Release] = Counter()
    for release in releases:
        steps[replace(release, what="", steps=1)] += release.steps
    alike = (replace(release, steps=count) for release, count in steps.items())
    return _epsilon(tuple(sorted(alike, key=repr)), delta, accountant)


@cache
def _epsilon(releases: tuple[Release, ...], delta: float, accountant: str) -> float:
    if not releases:
        return 0.0
    if any(release.noise_multiplier == 0 for release in releases):
        return math.inf
    if all(release.sampling == 1 for release in releases):
        return _epsilon_of_gaussian(sum(one.steps / one.noise_multiplier**2 for one in releases) ** 0.5, delta)
    ledger = _ACCOUNTANTS[accountant]()
    ledger.compose(ComposedDpEvent([event_of(release) for release in releases]))
    return float(ledger.get_epsilon(delta))


def _epsilon_of_gaussian(shift: float, delta: float) -> float:
    """Epsilon at ``delta`` of telling a standard normal number from one that is ``shift`` larger."""

    def excess(value: float) -> float:
        """Log of what delta is at ``value``, less that of what it may be."""
        above, below = log_ndtr(shift / 2 - value / shift), value + log_ndtr(-shift / 2 - value / shift)
        return float(above + math.log(-math.expm1(min(below - above, -1e-300)))) - math.log(delta)

    if excess(0.0) <= 0:
        return 0.0
    high = shift * (shift / 2 + float(-ndtri(delta)))  # beyond it the first term alone is below delta
    return float(brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12))


def noise_multiplier(
    target: float, delta: float, releases: Callable[[float], Iterable[Release]], accountant: AccountantName = "pld"
) -> float:
    """The least noise multiplier at which ``releases`` of it cost no more than ``target``, to a thousandth of that.

    Raises ``ValueError`` where no noise is enough, because what else ``releases`` has costs that much already.
    """
    if epsilon(releases(_MAX_NOISE), delta, "rdp") >= target:
        raise ValueError(f"no noise makes epsilon {target:g} at delta {delta:g}")
    solved = repr((target, delta, accountant, [*releases(1.0)], [*releases(2.0)]))
    known = recall(solved)
    if known is not None and (1 - 2 * _TOLERANCE) * target <= epsilon(releases(known), delta, accountant) <= target:
        return known
    # RDP is quick and never below PLD: what it asks for is enough, and what is needed is a little less. Steps of a
    # thousandth in the losses come near in a tenth of the time; what is returned was found with the accountant itself.
    found = _search(target, delta, releases, "rdp", _MAX_NOISE)
    if accountant == "pld":
        found = _search(target, delta, releases, "coarse", found)
        found = _search(target, delta, releases, "pld", found)
    remember(solved, found)
    return found


def _search(
    target: float,
    delta: float,
    releases: Callable[[float], Iterable[Release]],
    accountant: str,
    begin: float,
) -> float:
    """The least noise, from ``begin`` on, at which epsilon is no more than ``target``, and no less than 0.999 of it.

    Epsilon is nearly a power of the noise, so straight lines in logarithms find it in a few steps, each of which costs
    an accountant's whole composition. Where even the least noise that is tried is enough, it is the answer.
    """

    def excess(noise: float) -> float:
        return math.log(max(epsilon(releases(noise), delta, accountant), 1e-12) / target)

    low, high = _MIN_NOISE, math.inf  # too little, or not known to be; enough
    noise, slope = begin, -1.0
    before: tuple[float, float] | None = None
    for _ in range(_MAX_STEPS):
        over = excess(noise)
        if over <= 0 and (over >= -_TOLERANCE or noise <= low * (1 + _TOLERANCE)):
            return noise
        low, high = (noise, high) if over > 0 else (low, noise)
        here = (math.log(noise), over)
        if before is not None and before[0] != here[0]:
            slope = min((over - before[1]) / (here[0] - before[0]), -0.1)
        before = here
        aimed = math.exp(here[0] - (over + _TOLERANCE / 2) / slope)
        inside = low < aimed < high
        noise = aimed if inside else math.sqrt(low * high) if high < math.inf else noise * 2
    return high
