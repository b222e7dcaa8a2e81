"""Keys of the version before are read and said."""

import pytest

from fedrec.errors import UserError
from fedrec.recipe import load_recipe, parse_recipe

OLD = "name: old\nfederation:\n  rounds: 3\n"


def loaded(tmp_path, text, *overrides):
    path = tmp_path / "old.yaml"
    path.write_text(text)
    return load_recipe(str(path), overrides)


@pytest.mark.parametrize(
    ("text", "kind", "settings"),
    [
        ("  aggregation: median\n", "median", {}),
        ("  aggregation: trimmed_mean\n  trim: 0.3\n", "trimmed_mean", {"trim": 0.3}),
        ("  optimiser: {kind: adam, beta_2: 0.9}\n", "fedadam", {"beta_2": 0.9}),
        ("  aggregation: mean\n  optimiser: {kind: yogi, learning_rate: 0.1}\n", "fedyogi", {"learning_rate": 0.1}),
        ("  aggregation: mean\n  trim: 0.2\n  optimiser: {kind: none, tau: 0.001}\n", "mean", {}),
        ("  aggregation: median\n  trim: 0.2\n  optimiser: {kind: none, tau: 0.001}\n", "median", {}),
    ],
)
def test_a_recipe_of_the_version_before(tmp_path, text, kind, settings):
    with pytest.warns(FutureWarning, match="is called aggregator"):
        recipe = loaded(tmp_path, OLD + text)
    assert recipe.aggregator.kind == kind
    assert recipe.federation.rounds == 3
    assert all(getattr(recipe.aggregator, name) == value for name, value in settings.items())


def test_old_names_on_the_command_line():
    with pytest.warns(FutureWarning, match=r"federation.optimiser.* is called aggregator.* now"):
        recipe = load_recipe("fecosr", ["federation.optimiser.learning_rate=0.5", "federation.optimiser.kind=adam"])
    assert (recipe.aggregator.kind, recipe.aggregator.learning_rate) == ("fedadam", 0.5)
    with pytest.warns(FutureWarning, match="federation.* is called aggregator.* now"):
        recipe = load_recipe("fecosr", ["federation.aggregation=trimmed_mean", "federation.trim=0.1"])
    assert (recipe.aggregator.kind, recipe.aggregator.trim) == ("trimmed_mean", 0.1)


def test_a_name_of_today_counts_beside_an_old_one(tmp_path):
    with pytest.warns(FutureWarning, match="aggregator.kind"):
        recipe = loaded(tmp_path, OLD + "  aggregation: median\naggregator: {kind: krum}\n")
    assert recipe.aggregator.kind == "krum"


def test_what_cannot_be_said_any_more_is_refused(tmp_path):
    with pytest.raises(UserError, match="one aggregator makes the next model now"):
        loaded(tmp_path, OLD + "  aggregation: median\n  optimiser: {kind: adam}\n")


def test_an_old_name_goes_with_the_model_that_the_same_words_choose():
    with pytest.warns(FutureWarning) as said:
        recipe = load_recipe("fecosr", ["model.layers=3", "model.kind=acmr"])
    assert any("model.layers is called algorithm.layers now" in str(one.message) for one in said)
    assert (recipe.algorithm.kind, recipe.algorithm.layers) == ("acmr", 3)


def test_a_recipe_that_was_renamed():
    with pytest.warns(FutureWarning, match="recipe floors is called baselines now"):
        assert load_recipe("floors") == load_recipe("baselines")


def test_a_count_that_was_renamed():
    with pytest.warns(FutureWarning, match=r"codes\.least_count is called codes\.min_count now"):
        assert load_recipe("fedmm", ["codes.least_count=7"]).codes.min_count == 7


def test_a_recipe_of_before_took_every_list_of_items_for_public() -> None:
    """A run's own has all keys of its sections; one that somebody writes today does not."""
    whole = load_recipe("fecosr", ["privacy.epsilon=8"]).model_dump(mode="json")
    del whole["privacy"]["catalogue"]
    assert parse_recipe(whole, "a run").privacy.catalogue == "occurring"
    few = {"algorithm": {"kind": "fecosr"}, "privacy": {"epsilon": 8, "reports": "outside"}}
    assert parse_recipe(few, "a file").privacy.catalogue == "declared"
