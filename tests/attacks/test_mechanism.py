"""The one-run audit holds for our noise, and catches mechanisms that are broken on purpose."""

from dataclasses import replace

import numpy as np
import pytest

from fedrec.attacks.mechanism import canary_scores, fair_coins
from fedrec.attacks.scores import epsilon_at_least
from fedrec.privacy.accounting import epsilon
from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.plan import PrivacyPlan
from fedrec.privacy.release import Release

DELTA = 1e-5
UPDATE = Release("update", 6.0, 0.5, 3)
PAIRS = Release("item pairs", 6.0)


def plan(pairs: Release | None, update: Release | None, rounds: int) -> PrivacyPlan:
    releases = [*([pairs] if pairs else []), *([update] * rounds if update else [])]
    return PrivacyPlan(pairs, update, rounds, epsilon(releases, DELTA, "rdp"), DELTA, "rdp")


def bound(made: PrivacyPlan, **broken) -> float:
    coins = fair_coins(400, np.random.default_rng(1))
    return epsilon_at_least(canary_scores(made, 0.7, coins, SecretNoise(bytes(32), "test"), **broken), coins, DELTA)


@pytest.mark.parametrize("made", [plan(PAIRS, None, 0), plan(None, UPDATE, 4), plan(PAIRS, UPDATE, 4)])
def test_what_is_proved_lies_below_what_is_stated(made):
    assert bound(made) <= made.epsilon


def test_much_privacy_lost_is_much_proved():
    """The audit has power: with little noise, stated as such, a good part of the stated epsilon is proved."""
    made = plan(Release("item pairs", 0.5), None, 0)
    assert 2 < bound(made) <= made.epsilon


def test_too_little_noise_is_caught():
    """A tenth of the noise that the plan states."""
    stated = plan(PAIRS, UPDATE, 4)
    broken = replace(stated, update=replace(UPDATE, noise_multiplier=0.6), pairs=replace(PAIRS, noise_multiplier=0.6))
    assert bound(broken) > stated.epsilon


def test_no_clipping_is_caught():
    def unclipped(gradients, _):
        return {name: value.sum(dim=0) for name, value in gradients.items()}

    made = plan(None, UPDATE, 4)
    assert bound(made, clip=unclipped) > made.epsilon
