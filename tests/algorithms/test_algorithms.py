"""Every algorithm that comes with fedrec: its declarations hold for its model, and its plan for the recipe."""

import pytest
import torch
from torch import nn

from fedrec.components.algorithm import Need, Step, algorithm_named, algorithm_of
from fedrec.components.capability import Capability
from fedrec.components.registry import components
from fedrec.errors import UserError
from fedrec.exchange.groups import ParameterGroups
from fedrec.models.federated import FederatedModel
from fedrec.models.groups import groups_of
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation
from tests.conftest import quickly

ALL = sorted(components("algorithm"))
TRAINED = [name for name in ALL if name not in {"fedmm", "fedease"}]  # in rounds of its own model
RECIPES = {name: name for name in ("fecosr", "codes", "fedease", "fedmm", "acmr", "ranker")}


def recipe(name, *overrides):
    return load_recipe(RECIPES.get(name, "neumf"), [f"algorithm.kind={name}", *overrides])


@pytest.mark.parametrize("name", TRAINED)
def test_the_coordinator_builds_shared_parameters_that_depend_on_seed_and_vocabulary_alone(name):
    one, again, other = (algorithm_of(recipe(name, f"seed={seed}")).build(7).shared_state() for seed in (0, 0, 1))
    assert one.keys() == again.keys() == other.keys()
    assert all(one[key].equal(again[key]) for key in one)
    assert not all(one[key].equal(other[key]) for key in one)


@pytest.mark.parametrize("name", TRAINED)
def test_the_ledger_lets_the_models_own_shared_parameters_through_and_no_others(name):
    model, groups = algorithm_of(recipe(name)).build(7), groups_of("train.pretrain", name)
    assert set(groups.shared_names(model.state_dict())) == set(model.shared_state())
    assert set(model.shared_state()) < set(model.state_dict())


@pytest.mark.parametrize("name", ["neumf", "wide_and_deep", "mmoe", "acmr"])
@pytest.mark.parametrize("users", [1, 40])
def test_how_many_users_a_market_has_moves_no_shared_parameter(name, users):
    algorithm = algorithm_of(recipe(name))
    shared, here = algorithm.build(9).shared_state(), algorithm.build(9, users)
    assert all(value.equal(shared[key]) for key, value in here.shared_state().items())
    rows = {len(value) for key, value in here.state_dict().items() if "users" in key}
    assert rows == (set() if name == "acmr" else {users})


def test_models_join_by_parameters_too():
    """A shared group may be a bare parameter, or part of a module."""

    class Model(FederatedModel):
        groups = ParameterGroups(shared=("offset", "inner.weight"), private=("inner.bias",))

        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.randn(3))
            self.inner = nn.Linear(2, 2)

    one, two = Model(), Model()
    two.join(one)
    assert two.offset is one.offset
    assert two.inner.weight is one.inner.weight
    assert two.inner.bias is not one.inner.bias


def test_plans():
    assert algorithm_of(recipe("fecosr")).plan() == (Step.ROUNDS, Step.FINETUNE, Step.BASELINES)
    assert algorithm_of(recipe("fecosr", "evaluation.methods=[local]")).plan() == (Step.BASELINES,)
    assert algorithm_of(recipe("codes")).plan() == (Step.CODES, Step.ROUNDS, Step.FINETUNE, Step.BASELINES)
    assert algorithm_of(recipe("fedmm")).plan() == (Step.CODES, Step.CLICKS)
    trained = (Step.ROUNDS, Step.REFIT, Step.FINETUNE, Step.BASELINES)
    assert algorithm_of(load_recipe("ranker", ["scores.kind=fecosr"])).plan() == (Step.SCORES, *trained)
    assert algorithm_of(load_recipe("ranker", ["scores.kind=none"])).plan() == trained


def test_what_an_algorithm_needs_says_what_leaves():
    """Keys go for a table over all items, counts for item vectors of counts; a plan without rounds sends neither."""
    assert recipe("neumf").shares_vocabulary
    assert not recipe("fecosr", "semantics.kind=cooccurrence").shares_vocabulary
    assert recipe("fecosr", "semantics.kind=cooccurrence").sends_keys
    assert not recipe("neumf", "semantics.kind=cooccurrence").sends_keys
    assert not recipe("neumf", "evaluation.methods=[popularity]").shares_vocabulary


@pytest.mark.parametrize("name", ALL)
def test_rules_go_by_capabilities(name):
    algorithm = algorithm_named(name)
    for capability, words in (
        (Capability.USER_PRIVACY, ["privacy.epsilon=8"]),
        (Capability.MARKET_PRIVACY, ["market_privacy.epsilon=8", "federation.weights=uniform"]),
    ):
        if capability not in algorithm.capabilities:
            with pytest.raises(UserError, match=f"'{name}' has no {capability.value}"):
                recipe(name, *words)
    if Need.CODES not in algorithm.needs:
        with pytest.raises(UserError, match=f"evaluation.methods: nocodes: not of algorithm.kind '{name}'"):
            recipe(name, "evaluation.methods=[nocodes]")


def test_three_keys_of_the_version_before_name_the_algorithm():
    for old, kind in (("task=ctr", "fedmm"), ("model.items=codes", "codes"), ("model.kind=acmr", "acmr")):
        with pytest.warns(FutureWarning, match=f"is called algorithm.kind={kind} now"):
            found = load_recipe("fecosr", [old, BOTH])
        assert found.algorithm.kind == kind


BOTH = "evaluation.methods=[federated, local]"


@pytest.mark.parametrize(
    ("recipe", "words", "kind"),
    [
        ("codes", ["model.items=semantics"], "fecosr"),
        ("fedmm", ["task=sequential"], "fecosr"),
        ("codes", ["model.kind=fecosr"], "codes"),
        ("fedmm", ["model.kind=fecosr"], "fedmm"),
        ("fecosr", ["task=ctr", "model.kind=fecosr"], "fedmm"),
        ("fecosr", ["model.items=codes", "model.kind=fecosr"], "codes"),
        ("fecosr", ["task=sequential", "model.items=semantics"], "fecosr"),
        ("acmr", ["task=sequential"], "acmr"),
        ("acmr", ["model.kind=fecosr"], "fecosr"),
        ("codes", ["model.items=semantics", "algorithm.kind=neumf"], "neumf"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_words_change_what_they_changed(recipe, words, kind):
    """Whatever their order; a word of today counts beside them."""
    for ordered in (words, words[::-1]):
        assert load_recipe(recipe, [*ordered, BOTH]).algorithm.kind == kind


@pytest.mark.parametrize("words", [["model.kind=acmr", "task=ctr"], ["model.kind=acmr", "model.items=codes"]])
def test_old_words_that_never_went_together_still_do_not(words):
    for ordered in (words, words[::-1]):
        with pytest.raises(UserError, match=r"name one in algorithm\.kind"):
            load_recipe("fecosr", [*ordered, BOTH])


@pytest.mark.parametrize("word", ["task=[ctr]", "model.kind={a: 1}", "federation.aggregation=[mean]", "task=3"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_values_of_any_type_are_refused_in_words(word):
    with pytest.raises(UserError, match="is no (algorithm|aggregator)"):
        load_recipe("fecosr", [word])


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_sections_of_a_file_go_with_the_algorithm_that_words_choose(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("acmr: {layers: 5, negatives: 7}\nmodel: {heads: 1}\nevaluation: {protocol: acmr}\n")
    for word in ("model.kind=acmr", "algorithm.kind=acmr"):
        found = load_recipe(str(path), [word]).algorithm
        assert (found.layers, found.negatives, found.heads) == (5, 7, 1)
    assert load_recipe(str(path)).encoder.heads == 1
    path.write_text("acmr: {}\n")
    assert load_recipe(str(path)).algorithm.kind == "fecosr"


def test_acmr_keys_of_the_version_before(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("model: {kind: acmr}\nacmr: {layers: 3, heads: 4}\nevaluation: {protocol: acmr}\n")
    with pytest.warns(FutureWarning) as said:
        found = load_recipe(str(path))
    assert any("acmr.layers is called algorithm.layers now" in str(one.message) for one in said)
    assert (found.algorithm.kind, found.algorithm.layers, found.algorithm.heads) == ("acmr", 3, 4)
    path.write_text("acmr: {layers: 3}\n")  # of another model: they said nothing
    assert load_recipe(str(path)).algorithm.kind == "fecosr"


@pytest.mark.parametrize("words", [["algorithm.hidden=[0]"], ["algorithm.hidden=[-1]"], ["algorithm.hidden=[99999]"]])
def test_widths_have_a_range(words):
    with pytest.raises(UserError, match=r"algorithm\.hidden"):
        recipe("neumf", *words)


KEYS_LEAVE = ["market_privacy.epsilon=8", "federation.weights=uniform", "semantics.kind=hashing"]


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("neumf", ["data.user_share=0.5"], "knows nothing of users that train nothing"),
        ("fedmm", ["collaborative.source=sequential", "encoder.heads=3"], r"is not a multiple of encoder\.heads"),
        ("fecosr", [*KEYS_LEAVE, "evaluation.catalogue=union"], "codes or keys leave too"),
    ],
)
def test_what_an_algorithm_cannot_go_with(name, words, said):
    with pytest.raises(UserError, match=said):
        recipe(name, *words)


def test_federated_ease_is_an_algorithm_and_a_method(synthetic, tmp_path):
    """The same figures either way; a model that nobody trains cannot be asked for."""
    words = quickly("fedease.min_count=2", "evaluation.methods=[ease, fedease]")
    found = []
    for kind in ("fedease", "fecosr"):
        recipe = load_recipe("fedease", [*words, f"algorithm.kind={kind}"])
        found.append(prepare_simulation(recipe, synthetic, tmp_path / kind).start())
    assert found[0]["markets"] == found[1]["markets"]
    assert found[0]["rounds"] == []
    with pytest.raises(UserError, match=r"evaluation\.methods: federated: not of algorithm\.kind 'fedease'"):
        load_recipe("fedease", ["evaluation.methods=[federated, fedease]"])
