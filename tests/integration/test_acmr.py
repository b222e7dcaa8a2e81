"""ACMR in a federation: what leaves, what stays, and the same figures in every engine and after a crash."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedrec.data.store import open_store
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.errors import UserError
from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.adapt import prepare_adaptation
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation, resume_simulation
from fedrec.training.known import Known
from fedrec.training.pairs import PairTrainer
from fedrec.training.prepared import PreparedMarket
from tests.integration.harness import quick
from tests.integration.test_resume import SETTINGS, assert_same, killed_at

ACMR = (
    "algorithm.kind=acmr",
    "model.dimension=8",
    "algorithm.layers=2",
    "algorithm.heads=2",
    "training.weight_decay=0",
    "training.learning_rate=0.01",
    "training.batch_size=128",
    "evaluation.protocol=acmr",
    "federation.rounds=3",
    "finetune.epochs=2",
    "ease.lambdas=[10]",
    "evaluation.resamples=20",
)


def acmr(*overrides: str) -> Recipe:
    return load_recipe("acmr", [*ACMR, "evaluation.methods=[federated, local, pooled, popularity]", *overrides])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three markets with enough items that everybody has a hundred they never met."""
    data = tmp_path_factory.mktemp("wide") / "data"
    markets = ("alfa", "bravo", "charlie")
    write_synthetic_markets(data, SynthSettings(markets=markets, users=60, items=260, topics=8, skew=0.7, seed=3))
    return data


@pytest.fixture(scope="module")
def inline(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inline") / "run"
    prepare_simulation(acmr(), wide, out).start()
    return out


def test_the_market_embedding_stays_and_the_rest_is_shared(inline: Path) -> None:
    sent = {line["name"] for line in read_json_lines(inline / "ledger.jsonl") if line["action"] == "train.pretrain"}
    assert {"items.weight", "blocks.1.projection.weight", "norm.weight", "output.bias"} <= sent
    assert not any(name.startswith("markets") for name in sent)
    shared = load_file(inline / "shared" / "model.safetensors")
    assert {name.split(".")[0] for name in shared} == {"items", "norm", "blocks", "output"}
    own = [load_file(inline / "markets" / market / "carried-000003.safetensors") for market in ("alfa", "bravo")]
    assert set(own[0]) == {"markets.weight"}
    assert not np.array_equal(own[0]["markets.weight"], own[1]["markets.weight"])  # each has gone its own way


def test_every_method_learns_more_than_chance(inline: Path) -> None:
    """Of 100 candidates, chance is .0454; nearly all strangers are from other catalogues."""
    summary = json.loads((inline / "summary.json").read_text())
    assert not summary["failed"]
    for method in ("federated_without_prior", "local_without_prior", "pooled_without_prior"):
        assert summary["mean"][method]["ndcg@10"] > 0.06, method


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["engine.workers=2", "engine.kind=ray"])
def test_every_engine_carries_the_embedding_along(engine: str, inline: Path, wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary = prepare_simulation(acmr(engine), wide, out).start()
    assert comparable(summary) == comparable(json.loads((inline / "summary.json").read_text()))
    for name in ("shared/model.safetensors", "markets/bravo/federated.safetensors"):
        assert (out / name).read_bytes() == (inline / name).read_bytes(), name


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(wide: Path, tmp_path: Path) -> None:
    settings = [*ACMR, "evaluation.methods=[federated, local]", "pacer.scales=share", "pacer.alignment=0.1"]
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    prepare_simulation(quick(*SETTINGS, *settings), wide, undisturbed).start()
    killed_at("round answered", wide, out, *settings)
    resume_simulation(out).start()
    assert_same(out, undisturbed)


def test_one_person_is_recommended_what_their_market_sells(inline: Path, wide: Path) -> None:
    found = Recommender.open(inline, "alfa").recommend(user="alfa-00000", k=5)
    assert len(found.items) == 5


def test_a_model_of_keys_cannot_be_adapted_to_other_markets(inline: Path, wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="such as fecosr"):
        prepare_adaptation(inline, wide, tmp_path / "adapted")


def test_another_protocol_ranks_the_own_catalogue(wide: Path, tmp_path: Path) -> None:
    """The item table is the union's, what is ranked is the market's own; rows of the table are found by key."""
    recipe = acmr("evaluation.protocol=temporal", "evaluation.methods=[federated, local]", "federation.rounds=1")
    summary = prepare_simulation(recipe, wide, tmp_path / "run").start()
    assert not summary["failed"]
    vocabulary = json.loads((tmp_path / "run" / "markets" / "bravo" / "vocabulary.json").read_text())["items"]
    shared = load_file(tmp_path / "run" / "shared" / "model.safetensors")
    assert len(shared["items.weight"]) == len(vocabulary) > summary["markets"]["bravo"]["items"]
    resolved = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    trainer = PairTrainer.of(resolved, PreparedMarket(open_store(wide / "bravo"), resolved), Known(vocabulary))
    assert [vocabulary[row] for row in trainer.rows] == trainer.market.items
    before = trainer.model.shared_state()["items.weight"]
    trainer.pretrain_round(1)
    moved = (trainer.model.shared_state()["items.weight"] != before).any(dim=1)
    assert {vocabulary[row] for row in moved.nonzero()[:, 0]} <= set(trainer.market.items)  # negatives are own, too
    assert moved.any()


def test_the_finished_model_is_the_one_that_validated_best(wide: Path, tmp_path: Path) -> None:
    """With no fine-tuning, what is reported of validation is what the best round's model and embedding have."""
    overrides = ("federation.rounds=30", "federation.patience=2", "training.learning_rate=0.03", "finetune.epochs=0")
    out = tmp_path / "run"
    summary = prepare_simulation(acmr("evaluation.methods=[federated]", *overrides), wide, out).start()
    best = json.loads((out / "shared" / "model.json").read_text())["best_round"]
    assert 0 < best < len(summary["rounds"])  # else there is nothing to tell apart
    judged = next(r["validation_before"] for r in summary["rounds"] if r["round"] == best + 1)
    notes = [json.loads((out / "markets" / market / "federated.json").read_text()) for market in summary["markets"]]
    assert np.mean([note["scalars"]["validation"] for note in notes]) == pytest.approx(judged, abs=1e-12)


def test_histories_are_cut_where_the_recipe_says(wide: Path) -> None:
    recipe = acmr("model.maximum_length=3", "evaluation.protocol=temporal")
    market = PreparedMarket(open_store(wide / "alfa"), recipe)
    trainer = PairTrainer.of(recipe, market, Known(market.items))
    batches = list(trainer.batches(np.random.default_rng(0)))
    assert max(batch.request.histories.shape[1] for batch in batches) == 3


def test_aligned_states_are_one_a_user(wide: Path) -> None:
    recipe = acmr("evaluation.protocol=temporal", "algorithm.attention=joint")
    market = PreparedMarket(open_store(wide / "alfa"), recipe)
    trainer = PairTrainer.of(recipe, market, Known(market.items))
    for batch in trainer.batches(np.random.default_rng(0)):
        assert len(trainer.states(batch)) == len(batch.request.users.unique())


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("algorithm.heads=3", "algorithm.heads"),
        ("privacy.epsilon=8", "privacy"),
        ("evaluation.methods=[federated, local_shared_semantics]", "local_shared_semantics"),
    ],
)
def test_what_does_not_go_together_is_named(override: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        acmr(override)
