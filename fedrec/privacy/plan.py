"""How a market's epsilon is spent: one release of item pairs, and the rounds' updates.

Everything here is a function of the recipe and of a market's public size, so market and coordinator plan the same.
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from fedrec.errors import UserError
from fedrec.privacy.accounting import RELATION, UNIT, epsilon, noise_multiplier
from fedrec.privacy.release import Release
from fedrec.recipe import PrivacySettings, Recipe

PAIRS, UPDATE, AGGREGATE = "item pairs", "update", "aggregate"


@dataclass(frozen=True)
class PrivacyPlan:
    """What one market releases. ``update`` is one round's; either may be None where nothing of the kind leaves."""

    pairs: Release | None
    update: Release | None
    rounds: int  # how many updates the budget has room for, at most the recipe's
    epsilon: float  # of all of it
    delta: float
    accountant: str
    unit: str = UNIT
    relation: str = RELATION

    @property
    def releases(self) -> list[Release]:
        """All of them, when all rounds are done."""
        updates = [self.update] * self.rounds if self.update is not None else []
        return [*([self.pairs] if self.pairs is not None else []), *updates]

    def describe(self) -> dict[str, Any]:
        """For events and summaries: every epsilon with what it means."""
        described = {"item pairs": self.pairs, f"{self.update.what if self.update else ''}, every round": self.update}
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "unit": self.unit,
            "relation": self.relation,
            "accountant": self.accountant,
            "sampling": "Poisson",
            "rounds": self.rounds,
            "releases": {name: asdict(release) for name, release in described.items() if release is not None},
        }


def plan_market(recipe: Recipe, users: int) -> PrivacyPlan:
    """Of a market of so many users, all known to be so many.

    With ``privacy.epsilon`` alone the noise is the least that keeps to it; with ``privacy.noise_multiplier`` the noise
    is given, and ``epsilon``, where there is one, says after how many rounds to stop.

    Raises :class:`UserError` where the budget has room for nothing, or delta is not below one in ``users``.
    """
    settings = recipe.privacy
    if settings.delta >= 1 / users:
        raise UserError(f"privacy.delta {settings.delta:g} must be below one in {users} users; set it lower")
    rounds = recipe.federation.rounds if recipe.trains and "federated" in recipe.evaluation.methods else 0
    sampling = min(1.0, settings.batch_size / users)
    steps = recipe.training.epochs * max(1, math.ceil(users / settings.batch_size))
    return _plan(settings, recipe.releases_pairs, rounds, sampling, steps)


def plan_markets(recipe: Recipe, markets: int) -> PrivacyPlan:
    """Of a federation of so many markets whose server adds the noise: one release a round, of the aggregate.

    Raises :class:`UserError` where the budget has room for nothing, or delta is not below one in ``markets``.
    """
    settings = recipe.market_privacy
    if settings.delta >= 1 / markets:
        raise UserError(f"market_privacy.delta {settings.delta:g} must be below one in {markets} markets; set it lower")
    shared = {name: getattr(settings, name) for name in ("epsilon", "noise_multiplier", "delta", "accountant")}
    rounds = recipe.federation.rounds if "federated" in recipe.evaluation.methods else 0
    planned = _plan(PrivacySettings(**shared), False, rounds, recipe.federation.participation, 1, AGGREGATE)
    return replace(planned, unit="market", relation="add or remove one market")


@cache
def _plan(
    settings: PrivacySettings, pairs: bool, rounds: int, sampling: float, steps: int, what: str = UPDATE
) -> PrivacyPlan:
    target, delta, accountant = settings.epsilon, settings.delta, settings.accountant

    def update(noise: float) -> Release:
        return Release(what, noise, sampling, steps)

    given = settings.noise_multiplier
    if given is not None:
        first = [Release(PAIRS, given)] if pairs else []
        if target is not None:
            rounds = _affordable(first, update(given), rounds, settings)
        total = epsilon([*first, *([update(given)] * rounds)], delta, accountant)
        every = update(given) if rounds else None
        return PrivacyPlan(first[0] if first else None, every, rounds, total, delta, accountant)
    if target is None:
        raise ValueError("privacy is off")
    first = []
    if pairs:
        share = target * settings.pairs_share if rounds else target
        first = [Release(PAIRS, noise_multiplier(share, delta, lambda noise: [Release(PAIRS, noise)], accountant))]
    every = None
    if rounds:
        noise = noise_multiplier(target, delta, lambda noise: [*first, *([update(noise)] * rounds)], accountant)
        every = update(noise)
    total = epsilon([*first, *([every] * rounds if every else [])], delta, accountant)
    return PrivacyPlan(first[0] if first else None, every, rounds, total, delta, accountant)


def _affordable(first: list[Release], update: Release, rounds: int, settings: PrivacySettings) -> int:
    """The most rounds whose epsilon is no more than the recipe's, by bisection."""
    limit = settings.epsilon or math.inf

    def fits(count: int) -> bool:
        return epsilon([*first, *([update] * count)], settings.delta, settings.accountant) <= limit

    if fits(rounds):
        return rounds
    low, high = 0, rounds  # low fits, or nothing does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low == 0:
        raise UserError(
            f"privacy.noise_multiplier {update.noise_multiplier:g}: not one round fits in privacy.epsilon {limit:g}; "
            "raise one of them"
        )
    return low
