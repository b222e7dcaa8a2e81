"""Names, and where they come from."""

import json

import jsonschema
import pytest
from torch import nn

import fedrec
from fedrec.components import Capability, Component, Encoder, components, find, nouns, registry
from fedrec.components.section import ComponentSettings
from fedrec.errors import UserError
from fedrec.recipe import load_recipe, parse_recipe, recipe_json, recipe_schema


class Last(Encoder):
    """The last item alone."""

    class Settings(ComponentSettings):
        kind: str = "last"
        scale: float = 1.0

    def __init__(self, settings, sizes):
        super().__init__()
        self.map = nn.Linear(sizes.dimension, sizes.dimension)
        self.scale = settings.scale

    def forward(self, x, adapters=()):
        return self.map(x) * self.scale


class Counting(Last):
    """Says that it keeps users apart, and scales by how often it was asked."""

    class Settings(Last.Settings):
        kind: str = "counting"

    capabilities = frozenset({Capability.USER_PRIVACY})
    asked = 0

    def forward(self, x, adapters=(), masks=None):
        Counting.asked += 1  # in the class: a copy of the encoder would forget it
        return super().forward(x) + Counting.asked * x


class Apart(Counting):
    """Says so, and does."""

    class Settings(Last.Settings):
        kind: str = "apart"

    def forward(self, x, adapters=(), masks=None):
        return self.map(x) * self.scale


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    fedrec.register("encoder", "last", Last)


def test_every_component_of_the_house_loads_under_its_name():
    for noun in nouns():
        for name, one in components(noun).items():
            component = one.load()
            assert not hasattr(component, "Settings") or component.Settings(kind=name).kind == name


def test_a_registered_one_is_named_like_ours(registered):
    recipe = load_recipe("fecosr", ["encoder.kind=last", "encoder.scale=2"])
    assert recipe.encoder == Last.Settings(scale=2)
    assert parse_recipe(json.loads(recipe_json(recipe)), "again") == recipe
    with pytest.raises(UserError, match="unknown key 'encoder.scales'; did you mean 'scale'"):
        load_recipe("fecosr", ["encoder.kind=last", "encoder.scales=2"])


def test_the_schema_has_what_is_there(registered):
    schema = recipe_schema()
    values = json.loads(recipe_json(load_recipe("fecosr")))
    for section in ({"kind": "last", "scale": 2.0}, {"kind": "gru4rec", "layers": 2}, values["encoder"]):
        jsonschema.validate(values | {"encoder": section}, schema)
    for section in ({"kind": "last", "layers": 2}, {"kind": "gru4rec", "heads": 2}, {"kind": "other"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(values | {"encoder": section}, schema)


@pytest.mark.parametrize(
    ("noun", "name", "said"),
    [
        ("encoder", "gru4rec", "taken by fedrec"),
        ("encoder", "A b", "small letters"),
        ("encoders", "mine", "did you mean 'encoder'"),
    ],
)
def test_what_cannot_be_registered(noun, name, said, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(UserError, match=said):
        fedrec.register(noun, name, Last)


def test_two_packages_with_one_name_are_said(monkeypatch):
    offered = [Component("encoder", "mine", origin, "x:y") for origin in ("one", "two")]
    monkeypatch.setattr(registry, "_found", lambda _noun: tuple(offered))
    with pytest.raises(UserError, match="'mine': offered by one and by two"):
        find("encoder", "mine")


def test_a_broken_package_is_named(monkeypatch):
    for reference, said in (("no_such_module:X", "cannot be loaded"), ("math:pi", "is no subclass of Encoder")):
        monkeypatch.setattr(registry, "_found", lambda _noun, r=reference: (Component("encoder", "bad", "theirs", r),))
        with pytest.raises(UserError, match=f"'bad' of theirs.*{said}"):
            find("encoder", "bad")
