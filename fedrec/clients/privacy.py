"""What a market needs for privacy: its secret, its account, its plan, and the statistics that it noises."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedrec.clients.node import MarketNode
from fedrec.errors import RunError
from fedrec.exchange.guard import GuardStage
from fedrec.exchange.noised_pairs import PAIRS, noised_statistic, pair_statistic, read_triangle
from fedrec.exchange.noised_statistics import read_variance, statistics_of
from fedrec.exchange.pairs import count_pairs
from fedrec.exchange.payload import DERIVED, Array, Origin, Payload, Provenance
from fedrec.exchange.statistics import Statistics
from fedrec.files import exclusively, read_json
from fedrec.privacy.budget import PrivacyBudget
from fedrec.privacy.noise import SecretNoise, digest, kept_secret
from fedrec.privacy.plan import PrivacyPlan, largest_delta, plan_market
from fedrec.privacy.release import Release
from fedrec.recipe import Recipe
from fedrec.training.private import PrivateSteps


def guard_stage(node: MarketNode, recipe: Recipe, tells: Callable[[Origin], bool]) -> GuardStage:
    """The stage that every payload of a private run passes. ``tells``: whether figures outside epsilon may leave."""
    budget = PrivacyBudget(node.budget, recipe.privacy)

    def charge(key: str, release: Release) -> None:
        if node.max_epsilon is None or budget.charges:
            budget.charge(key, release)
            return
        lock = _runs(node) / f".privacy-{node.store.name}"
        with exclusively(lock):  # of runs that begin together, the second sees what the first was promised
            _leave_room(node, recipe, node.max_epsilon)
            budget.charge(key, release)

    return GuardStage(charge, tells)


def secret_noise(node: MarketNode) -> SecretNoise:
    """Noise from the market's secret, which is made on first use and never leaves its folder."""
    return SecretNoise(kept_secret(node.secret), node.folder.parents[1].name)


def noised_pairs(node: MarketNode, recipe: Recipe) -> Payload:
    """Item keys, and the market's item pairs under noise: the same numbers as long as its histories are the same."""
    market = node.prepare(recipe)
    plan = market_plan(node, recipe)
    release = planned(plan.pairs, "item pairs")
    statistic = pair_statistic(market.train.matrix())
    purpose = f"{release.what}:{digest({'statistic': statistic})}"
    noised = noised_statistic(statistic, release, secret_noise(node), purpose)
    return Payload({PAIRS: noised}, texts={"items": market.items}, provenance={PAIRS: released(purpose, release)})


def others_of_noised(node: MarketNode, recipe: Recipe, arrays: dict[str, Array]) -> Statistics:
    """A ranker's statistics of the other markets, of a sum of noised pairs from which this market takes its own.

    How many users stand behind a weight of one is told by this market's own pairs: it is a guess of the others', made
    where nothing leaves any more. Raises ``ValueError`` for what cannot be such a sum.
    """
    market = node.prepare(recipe)
    size, histories = len(market.items), market.train.matrix()
    variance = read_variance(arrays, size)
    others = read_triangle(arrays, size) - np.asarray(noised_pairs(node, recipe).arrays[PAIRS], np.float32)
    weights = pair_statistic(histories).sum()
    counted = float(count_pairs(histories, 1, diagonal=True).count.sum())
    return statistics_of(others, variance, counted / weights if weights else 1.0)


def private_steps(
    node: MarketNode, recipe: Recipe, number: int, asked: str, made_of: str
) -> tuple[PrivateSteps, Provenance]:
    """How round ``number`` trains, and what its update then is.

    ``asked`` stands for the question, ``made_of`` for all that the answer is made of, the market's data among it.
    """
    release = planned(market_plan(node, recipe).update, "an update")
    key = f"{release.what}:{number}:{made_of}"
    clip_norm, users = recipe.privacy.clip_norm, node.store.users
    steps = PrivateSteps(clip_norm, release, users, secret_noise(node), key, f"{release.what}:{number}:{asked}")
    return steps, released(key, release)


def derived(payload: Payload) -> Payload:
    """The same, made of releases alone."""
    return Payload(payload.arrays, payload.scalars, payload.texts, payload.base, payload.statistics, {"*": DERIVED})


def market_plan(node: MarketNode, recipe: Recipe) -> PrivacyPlan:
    """The market's plan, remembered: to solve for the noise takes seconds."""
    made_of = recipe.privacy.model_dump_json() + recipe.model_dump_json(include={"federation", "training"})
    return node.remember("privacy plan", made_of, lambda: plan_market(recipe, node.store.users))


def _leave_room(node: MarketNode, recipe: Recipe, most: float) -> None:
    """Refuse to begin what, with all that was promised in other runs, is more than this market ever spends.

    A run counts with its limit, or with what it has spent where that is more: epsilons add, and so do deltas (basic
    composition), which together may be a tenth of one in the users.
    """
    others = set(_runs(node).glob(f"*/markets/{node.store.name}/{node.budget.name}")) - {node.budget}
    accounts = [read_json(path) for path in sorted(others)]
    spent = sum(max(account["limit"] or 0.0, account["epsilon"]) for account in accounts)
    asked = recipe.privacy.epsilon or math.inf
    delta = sum(account["delta"] for account in accounts) + recipe.privacy.delta
    if delta > largest_delta(node.store.users):
        raise RunError(
            f"privacy.delta {recipe.privacy.delta:g}: with those of other runs here {delta:g}, more than a tenth of "
            f"one in {node.store.users} users; lower it"
        )
    if spent + asked > most * (1 + 1e-9):
        raise RunError(
            f"privacy.epsilon {asked:g}: other runs had {spent:g} of the {most:g} that this market ever spends; "
            f"{max(most - spent, 0):g} is left"
        )


def _runs(node: MarketNode) -> Path:
    return node.folder.parents[2]


def planned(release: Release | None, what: str) -> Release:
    """A release of the plan; raises :class:`RunError` where it has none of the kind."""
    if release is None:
        raise RunError(f"the privacy plan of this recipe has no room for {what}; none is sent")
    return release


def released(key: str, release: Release) -> Provenance:
    """What was noised as ``release`` says, charged once for each ``key``."""
    return Provenance("released", release, key)
