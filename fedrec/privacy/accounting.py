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

from dp_accounting import ExplicitBracketInterval, calibrate_dp_mechanism
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

from fedrec.privacy.release import Release

UNIT = "user within a market"
RELATION = "add or remove one user"
AccountantName = Literal["pld", "rdp"]
_ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512, 1024)  # whole ones are exact and quick
_ACCOUNTANTS: dict[AccountantName, Callable[[], PrivacyAccountant]] = {
    "pld": PLDAccountant,
    "rdp": lambda: RdpAccountant(_ORDERS),
}

_LEAST_NOISE, _MOST_NOISE = 0.2, 10_000.0
_TOLERANCE = 1e-3  # of a noise multiplier that is searched for


def event_of(release: Release) -> DpEvent:
    """A release as dp-accounting sees it."""
    event: DpEvent = GaussianDpEvent(release.noise_multiplier)
    if release.sampling < 1:
        event = PoissonSampledDpEvent(release.sampling, event)
    return SelfComposedDpEvent(event, release.steps)


def epsilon(releases: Iterable[Release], delta: float, accountant: AccountantName = "pld") -> float:
    """Epsilon of all the releases together at ``delta`` in (0, 1); infinite where one of them has no noise."""
    steps: Counter[Release] = Counter()
    for release in releases:
        steps[replace(release, what="", steps=1)] += release.steps
    alike = (replace(release, steps=count) for release, count in steps.items())
    return _epsilon(tuple(sorted(alike, key=repr)), delta, accountant)


@cache
def _epsilon(releases: tuple[Release, ...], delta: float, accountant: AccountantName) -> float:
    if not releases:
        return 0.0
    if any(release.noise_multiplier == 0 for release in releases):
        return math.inf
    ledger = _ACCOUNTANTS[accountant]()
    ledger.compose(ComposedDpEvent([event_of(release) for release in releases]))
    return float(ledger.get_epsilon(delta))


def noise_multiplier(
    target: float, delta: float, releases: Callable[[float], Iterable[Release]], accountant: AccountantName = "pld"
) -> float:
    """The least noise multiplier, to a thousandth, at which ``releases`` of it cost no more than ``target``.

    Raises ``ValueError`` where no noise is enough, because what else ``releases`` has costs that much already.
    """
    if epsilon(releases(_MOST_NOISE), delta, "rdp") >= target:
        raise ValueError(f"no noise makes epsilon {target:g} at delta {delta:g}")
    highest = _search(target, delta, releases, "rdp", _LEAST_NOISE, _MOST_NOISE)
    if accountant == "rdp":
        return highest
    # RDP is quick and never below PLD, so what it asks for is enough; what is needed is a little less.
    return _search(target, delta, releases, accountant, max(highest / 2, _LEAST_NOISE), highest)


def _search(
    target: float,
    delta: float,
    releases: Callable[[float], Iterable[Release]],
    accountant: AccountantName,
    low: float,
    high: float,
) -> float:
    if low >= high or epsilon(releases(low), delta, accountant) <= target:
        return low
    found: float = calibrate_dp_mechanism(
        _ACCOUNTANTS[accountant],
        lambda noise: ComposedDpEvent([event_of(release) for release in releases(noise)]),
        target,
        delta,
        ExplicitBracketInterval(low, high),
        tol=_TOLERANCE,
    )
    return found
