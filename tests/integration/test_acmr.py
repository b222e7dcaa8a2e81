"""ACMR in a federation: what leaves, what stays, and the same figures in every engine and after a crash."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.errors import UserError
from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.adapt import prepare_adaptation
from fedrec.simulation.recommend import recommend
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.integration.harness import quick
from tests.integration.test_resume import SETTINGS, assert_same, killed_at

ACMR = (
    "model.kind=acmr",
    "model.dimension=8",
    "model.layers=2",
    "model.heads=2",
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


@pytest.mark.parametrize("engine", ["engine.workers=2", pytest.param("engine.kind=ray", marks=pytest.mark.slow)])
def test_every_engine_carries_the_embedding_along(engine: str, inline: Path, wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary = prepare_simulation(acmr(engine), wide, out).start()
    assert comparable(summary) == comparable(json.loads((inline / "summary.json").read_text()))
    for name in ("shared/model.safetensors", "markets/bravo/federated.safetensors"):
        assert (out / name).read_bytes() == (inline / name).read_bytes(), name


def test_a_killed_run_goes_on_to_the_same_end(wide: Path, tmp_path: Path) -> None:
    settings = [*ACMR, "evaluation.methods=[federated, local]", "pacer.scales=share", "pacer.alignment=0.1"]
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    prepare_simulation(quick(*SETTINGS, *settings), wide, undisturbed).start()
    killed_at("round answered", wide, out, *settings)
    resume_simulation(out).start()
    assert_same(out, undisturbed)


def test_one_person_is_recommended_what_their_market_sells(inline: Path, wide: Path) -> None:
    found = recommend(inline, "alfa", user="alfa-00000", count=5)
    assert len(found.items) == 5


def test_a_model_of_keys_cannot_be_adapted_to_other_markets(inline: Path, wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.kind=fecosr"):
        prepare_adaptation(inline, wide, tmp_path / "adapted")


def test_another_protocol_ranks_the_own_catalogue(wide: Path, tmp_path: Path) -> None:
    """The item table is the union's, what is ranked is not: rows of the table are found by key."""
    recipe = acmr("evaluation.protocol=temporal", "evaluation.methods=[federated, local]", "federation.rounds=1")
    summary = prepare_simulation(recipe, wide, tmp_path / "run").start()
    assert not summary["failed"]
    shared = load_file(tmp_path / "run" / "shared" / "model.safetensors")
    items = {market: figures["items"] for market, figures in summary["markets"].items()}
    assert shared["items.weight"].shape[0] > max(items.values())


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.items=codes", "model.items"),
        ("privacy.epsilon=8", "privacy"),
        ("evaluation.methods=[federated, local_shared_semantics]", "local_shared_semantics"),
    ],
)
def test_what_does_not_go_together_is_named(override: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        acmr(override)
