"""Recipes: every mistake is named, every shipped one loads, defaults are what the manual says."""

from pathlib import Path

import pytest

from fedrec.errors import UserError
from fedrec.recipe import Recipe, load_recipe, recipe_json, recipe_names

MISTAKES = {
    "unknown recipe": ("fecsr", [], "'fecsr' is unknown; did you mean 'fecosr'"),
    "missing file": ("missing.yaml", [], "missing.yaml: cannot be read"),
    "unknown section": ("fecosr", ["lss.lam=0"], "unknown key 'lss'; did you mean 'loss'"),
    "unknown key": ("fecosr", ["loss.lamb=0"], "unknown key 'loss.lamb'; did you mean 'lam'"),
    "out of range": ("fecosr", ["loss.lam=1"], "loss.lam = 1: input should be less than 1"),
    "negative": ("fecosr", ["federation.rounds=-3"], "federation.rounds = -3"),
    "not a number": ("fecosr", ["loss.tau=.nan"], "loss.tau"),
    "wrong type": ("fecosr", ["encoder.layers=two"], "encoder.layers = 'two'"),
    "unknown choice": ("fecosr", ["evaluation.protocol=famly"], "evaluation.protocol = 'famly'"),
    "market name": ("fecosr", ["data.markets=[../jp]"], "market name '../jp' is refused"),
    "no equals sign": ("fecosr", ["loss.lam"], "write it as key.key=value"),
    "value as section": ("fecosr", ["seed.x=1"], "'seed' is a value"),
    "heads": ("fecosr", ["encoder.heads=3"], "not a multiple of encoder.heads 3"),
    "bad yaml": ("fecosr", ["loss.lam=[1"], "not valid YAML"),
}


@pytest.mark.parametrize(("reference", "overrides", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(reference: str, overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(reference, overrides)
    assert said in str(caught.value)
    assert str(caught.value).count("\n") <= 1


def test_a_recipe_must_be_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- a\n")
    with pytest.raises(UserError, match="a recipe is a mapping"):
        load_recipe(str(path))


def test_no_python_object_is_built_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(UserError, match="tags"):
        load_recipe(str(path))


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load_and_survive_the_wire(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe_json(recipe)) == recipe


def test_the_shipped_recipe_states_the_defaults() -> None:
    """The manual and the schema must not drift apart."""
    assert load_recipe("fecosr") == Recipe()
