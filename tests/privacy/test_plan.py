"""Plans and budgets: what a market may release, and that it never releases more."""

import json
import math

import pytest

from fedrec.errors import RunError, UserError
from fedrec.privacy.accounting import epsilon
from fedrec.privacy.budget import PrivacyBudget
from fedrec.privacy.plan import plan_market
from fedrec.privacy.release import Release
from fedrec.recipe import PrivacySettings, load_recipe

FIXED = ["semantics.kind=hashing", "federation.rounds=6"]


def recipe(*overrides):
    return load_recipe("fecosr", [*FIXED, *overrides])


@pytest.mark.parametrize("kind", [pytest.param("hashing", marks=pytest.mark.slow), "cooccurrence"])
@pytest.mark.parametrize(("users", "batch_size"), [pytest.param(239, 100, marks=pytest.mark.slow), (50, 256)])
def test_epsilon_alone_solves_for_the_noise(kind, users, batch_size):
    """Everything that the plan names costs what it says, and hardly less than allowed; sampling and steps follow from
    the market's size; pairs are planned where they leave."""
    plan = plan_market(
        recipe("privacy.epsilon=3", f"privacy.batch_size={batch_size}", f"semantics.kind={kind}", "training.epochs=2"),
        users,
    )
    assert plan.update is not None
    assert plan.update.sampling == min(1, batch_size / users)
    assert plan.update.steps == 2 * -(-users // batch_size)
    assert (plan.pairs is not None) == (kind == "cooccurrence")
    assert plan.epsilon == epsilon(plan.releases, 1e-5)
    assert 2.9 < plan.epsilon <= 3
    assert len(plan.releases) == 6 + (kind == "cooccurrence")
    if plan.pairs is not None:
        assert epsilon([plan.pairs], 1e-5) == pytest.approx(0.9, abs=0.01)


def test_pairs_have_it_all_where_nothing_is_trained():
    plan = plan_market(load_recipe("fedease", ["privacy.epsilon=2"]), 100)
    assert plan.update is None
    assert plan.pairs is not None
    assert plan.epsilon == pytest.approx(2, abs=0.01)


def test_given_noise_and_epsilon_say_when_to_stop():
    """As many rounds as fit: one more would not."""
    given = ["privacy.noise_multiplier=1.0", "privacy.batch_size=20"]
    free = plan_market(recipe(*given), 100)
    assert free.rounds == 6
    plan = plan_market(recipe(*given, "privacy.epsilon=4"), 100)
    assert 1 <= plan.rounds < 6
    assert plan.epsilon <= 4 < epsilon([*plan.releases, plan.update], 1e-5)
    with pytest.raises(UserError, match="not one round fits in privacy.epsilon 0.5"):
        plan_market(recipe(*given, "privacy.epsilon=0.5"), 100)


def test_delta_is_at_most_a_tenth_of_one_in_the_users():
    with pytest.raises(
        UserError, match=r"privacy.delta 0.0011 is more than a tenth of one in 100 users; set it to 0.001"
    ):
        plan_market(recipe("privacy.epsilon=1", "privacy.delta=0.0011"), 100)
    assert plan_market(recipe("privacy.epsilon=1", "privacy.delta=0.001"), 100).epsilon <= 1


def test_noised_figures_have_their_share_and_everything_together_the_epsilon():
    noised = recipe("privacy.epsilon=4", "privacy.reports=noised", "privacy.reports_share=0.2", "privacy.batch_size=20")
    plan = plan_market(noised, 100)
    assert plan.figures is not None
    assert epsilon([plan.figures], 1e-5) == pytest.approx(0.8, abs=0.01)
    assert plan.releases.count(plan.figures) == 1
    assert epsilon(plan.releases, 1e-5) == plan.epsilon == pytest.approx(4, rel=0.01)
    given = plan_market(recipe("privacy.noise_multiplier=3", "privacy.reports=noised"), 100)
    assert given.figures is not None
    assert given.figures.noise_multiplier == 3


def test_one_history_in_place_of_another_costs_more():
    """Exact where nothing is sampled: twice the shift. Else by the rule for groups of two."""
    whole = plan_market(load_recipe("fedease", ["privacy.epsilon=2"]), 100)
    assert whole.replaced["delta"] == whole.delta
    assert 2 * whole.epsilon < whole.replaced["epsilon"] < 2.5 * whole.epsilon
    plan = plan_market(recipe("privacy.epsilon=2", "privacy.batch_size=20"), 100)
    assert plan.replaced == {"epsilon": 2 * plan.epsilon, "delta": (1 + math.exp(plan.epsilon)) * plan.delta}


def test_a_budget_is_charged_before_sending_once_a_key_and_never_above(tmp_path):
    path = tmp_path / "privacy.json"
    settings = PrivacySettings(epsilon=4.0)
    release = Release("update", 1.5, 0.2, 3)
    budget = PrivacyBudget(path, settings)
    budget.charge("update:1", release)
    spent = budget.spent
    assert json.loads(path.read_text())["epsilon"] == spent == epsilon([release], 1e-5)
    budget.charge("update:1", release)  # the same bytes again
    assert PrivacyBudget(path, settings).spent == spent
    with pytest.raises(RunError, match="released before under other noise"):
        budget.charge("update:1", Release("update", 1.0, 0.2, 3))
    number = 1
    while epsilon([*budget.charges.values(), release], 1e-5) <= 4:
        number += 1
        budget.charge(f"update:{number}", release)
    assert number > 1
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"privacy budget spent: update would make epsilon .* of 4"):
        budget.charge("update:one more", release)
    assert path.read_bytes() == before
    again = PrivacyBudget(path, settings)  # what a market remembers after it was killed
    assert again.spent == budget.spent <= 4
    with pytest.raises(RunError, match="budget spent"):
        again.charge("update:1001", release)
