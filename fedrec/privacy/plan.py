"""How a market's epsilon is spent: one release of item pairs, the rounds' updates, one of test figures.

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

PAIRS, UPDATE, AGGREGATE, FIGURES = "item pairs", "update", "aggregate", "figures"


@dataclass(frozen=True)
class PrivacyPlan:
    """What one market releases. ``update`` is one round's; each may be None where nothing of the kind leaves."""

    pairs: Release | None
    update: Release | None
    rounds: int  # how many updates the budget has room for, at most the recipe's
    epsilon: float  # of all of it
    delta: float
    accountant: str
    figures: Release | None = None
    unit: str = UNIT
    relation: str = RELATION

    @property
    def releases(self) -> list[Release]:
        """All of them, when all rounds are done."""
        updates = [self.update] * self.rounds if self.update is not None else []
        return [release for release in (self.pairs, *updates, self.figures) if release is not None]

    @property
    def replaced(self) -> dict[str, float]:
        """Where neighbours have one history in place of another: their number is known to be the same.

        It is one removed and one added: twice epsilon, and (1 + e^epsilon) times delta (Dwork & Roth 2014, Theorem 2.2
        for groups), at most one; without sampling exact, at the same delta.
        """
        if all(release.sampling == 1 for release in self.releases):
            twice = [replace(release, noise_multiplier=release.noise_multiplier / 2) for release in self.releases]
            return {"epsilon": epsilon(twice, self.delta, self.accountant), "delta": self.delta}
        return {"epsilon": 2 * self.epsilon, "delta": min(1.0, (1 + math.exp(self.epsilon)) * self.delta)}

    def describe(self) -> dict[str, Any]:
        """For events and summaries: every epsilon with what it means."""
        described = {
            PAIRS: self.pairs,
            f"{self.update.what if self.update else ''}, every round": self.update,
            FIGURES: self.figures,
        }
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "unit": self.unit,
            "relation": self.relation,
            "replace_one": self.replaced,
            "accountant": self.accountant,
            "sampling": "Poisson",
            "rounds": self.rounds,
            "releases": {name: asdict(release) for name, release in described.items() if release is not None},
        }


def largest_delta(people: int) -> float:
    """The most that delta may be among so many: at one in all of them, telling one at random would be private."""
    return 1 / (10 * people)


def plan_market(recipe: Recipe, users: int) -> PrivacyPlan:
    """Of a market of so many users, all known to be so many.

    With ``privacy.epsilon`` alone the noise is the least that keeps to it; with ``privacy.noise_multiplier`` the noise
    is given, and ``epsilon``, where there is one, says after how many rounds to stop.

    Raises :class:`UserError` where the budget has room for nothing, or delta is more than a tenth of one in ``users``.
    """
    settings = recipe.privacy
    if settings.delta > largest_delta(users):
        raise UserError(
            f"privacy.delta {settings.delta:g} is more than a tenth of one in {users} users; set it to "
            f"{largest_delta(users):.2g} or less"
        )
    rounds = recipe.federation.rounds if recipe.federates else 0
    sampling = min(1.0, settings.batch_size / users)
    steps = recipe.training.epochs * max(1, math.ceil(users / settings.batch_size))
    once = {PAIRS: settings.pairs_share if recipe.releases_pairs else 0.0}
    once[FIGURES] = settings.reports_share if settings.reports == "noised" else 0.0
    return _plan(settings, tuple((what, share) for what, share in once.items() if share), rounds, sampling, steps)


def plan_markets(recipe: Recipe, markets: int) -> PrivacyPlan:
    """Of a federation of so many markets whose server adds the noise: one release a round, of the aggregate.

    Raises :class:`UserError` where the budget has room for nothing, or delta is more than a tenth of one in
    ``markets``.
    """
    settings = recipe.market_privacy
    if settings.delta > largest_delta(markets):
        raise UserError(
            f"market_privacy.delta {settings.delta:g} is more than a tenth of one in {markets} markets; set it to "
            f"{largest_delta(markets):.2g} or less"
        )
    shared = {name: getattr(settings, name) for name in ("epsilon", "noise_multiplier", "delta", "accountant")}
    rounds = recipe.federation.rounds if "federated" in recipe.evaluation.methods else 0
    planned = _plan(PrivacySettings(**shared), (), rounds, recipe.federation.participation, 1, AGGREGATE)
    return replace(planned, unit="market", relation="add or remove one market")


@cache
def _plan(
    settings: PrivacySettings,
    once: tuple[tuple[str, float], ...],
    rounds: int,
    sampling: float,
    steps: int,
    what: str = UPDATE,
) -> PrivacyPlan:
    """``once``: what is released once, and its share of epsilon; all of it where nothing else is released."""
    target, delta, accountant = settings.epsilon, settings.delta, settings.accountant

    def update(noise: float) -> Release:
        return Release(what, noise, sampling, steps)

    given = settings.noise_multiplier
    if given is not None:
        single = [Release(name, given) for name, _ in once]
        if target is not None:
            rounds = _affordable(single, update(given), rounds, settings)
        every = update(given) if rounds else None
    else:
        if target is None:
            raise ValueError("privacy is off")
        alone = len(once) == 1 and not rounds
        single = [_alone(name, target if alone else target * share, settings) for name, share in once]
        every = None
        if rounds:
            noise = noise_multiplier(target, delta, lambda noise: [*single, *([update(noise)] * rounds)], accountant)
            every = update(noise)
    total = epsilon([*single, *([every] * rounds if every else [])], delta, accountant)
    named = {release.what: release for release in single}
    return PrivacyPlan(named.get(PAIRS), every, rounds, total, delta, accountant, named.get(FIGURES))


def _alone(what: str, target: float, settings: PrivacySettings) -> Release:
    """One release of so much epsilon."""
    noise = noise_multiplier(target, settings.delta, lambda noise: [Release(what, noise)], settings.accountant)
    return Release(what, noise)


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
