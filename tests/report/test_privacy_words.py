"""What a run's page and its lines say of epsilon, of sizes that are public, and of the floor on users."""

from pathlib import Path

import pytest

from fedrec.privacy.plan import plan_market
from fedrec.recipe import load_recipe
from fedrec.report.run_page import _privacy
from fedrec.report.tables import privacy_lines


def summary(min_users: tuple[int, ...] = (1,)) -> dict:
    nothing = {"epsilon": None, "delta": None, "mechanisms": []}
    return {"privacy": nothing, "markets": {f"m{n}": {"min_users": least} for n, least in enumerate(min_users)}}


@pytest.mark.parametrize(
    ("floors", "said"),
    [
        ((1, 1), "No market had a floor of users behind what leaves it: min-users was 1"),
        ((20, 1), "No market had a floor"),
        ((20, 30), "Every market refused what would leave fewer than 20 users to train, validate or test on"),
    ],
)
def test_the_page_says_which_floor_there_was(floors: tuple[int, ...], said: str) -> None:
    assert any(said in line for line in _privacy(summary(floors), load_recipe("fecosr")))


def test_the_line_of_epsilon_states_both_neighbours(synthetic: Path) -> None:
    recipe = load_recipe("fecosr", ["privacy.epsilon=2", "privacy.accountant=rdp", "semantics.kind=hashing"])
    plan = plan_market(recipe, 600).describe()
    (line,) = privacy_lines({"privacy": {**plan, "reports": "withheld"}})
    replaced = plan["replace_one"]
    assert f"epsilon {plan['epsilon']:.3g}" in line
    assert f"{replaced['epsilon']:.3g} at {replaced['delta']:.2g} to replace one, because sizes are public" in line
    assert replaced["epsilon"] > plan["epsilon"]
