"""NeuMF, Wide & Deep and MMoE in a federation: what stays, who is known, and the same figures in other processes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedrec.errors import UserError
from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation

SMALL = (
    "model.dimension=8",
    "algorithm.hidden=[16, 8]",
    "training.learning_rate=0.02",
    "training.epochs=3",
    "training.batch_size=128",
    "federation.rounds=8",
    "federation.patience=8",
    "finetune.epochs=2",
    "ease.lambdas=[10]",
    "evaluation.resamples=20",
    "evaluation.methods=[federated, local, pooled, popularity]",
)
PRIVATE = {
    "neumf": {"pair.users.weight", "factor_users.weight"},
    "wide_and_deep": {"pair.users.weight", "wide_users.weight"},
    "mmoe": {"pair.users.weight", "gates.0.weight", "gates.0.bias", "towers.0.0.weight"},
}


def small(kind: str, *overrides: str) -> Recipe:
    return load_recipe("neumf", [f"algorithm.kind={kind}", *SMALL, *overrides])


@pytest.fixture(
    scope="module",
    params=[name if name == "neumf" else pytest.param(name, marks=pytest.mark.slow) for name in sorted(PRIVATE)],
)
def finished(request: pytest.FixtureRequest, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param) / "run"
    prepare_simulation(small(request.param), synthetic, out).start()
    return out


def kind_of(run: Path) -> str:
    return load_recipe(str(run / "recipe.yaml")).algorithm.kind


def test_what_is_a_users_or_a_markets_own_never_leaves(finished: Path) -> None:
    private = PRIVATE[kind_of(finished)]
    sent = {line["name"] for line in read_json_lines(finished / "ledger.jsonl") if line["action"] == "train.pretrain"}
    assert "pair.items.weight" in sent
    assert not sent & private
    kept = [load_file(finished / "markets" / market / "carried-000008.safetensors") for market in ("alfa", "bravo")]
    assert private <= set(kept[0])
    assert set(kept[0]) == set(kept[1])
    shared = load_file(finished / "shared" / "model.safetensors")
    assert not set(shared) & set(kept[0])
    users = json.loads((finished / "summary.json").read_text())["markets"]["alfa"]["users"]
    assert len(kept[0]["pair.users.weight"]) == users


def test_every_method_learns_more_than_the_order_of_keys(finished: Path) -> None:
    """Scores drawn at random have NDCG@10 of about .06 among 60 items."""
    summary = json.loads((finished / "summary.json").read_text())
    assert not summary["failed"]
    for method in ("federated", "local", "pooled"):
        assert summary["mean"][f"{method}_without_prior"]["ndcg@10"] > 0.08, method


def test_users_are_known_by_their_own_vectors(finished: Path) -> None:
    """The list of one user is not that of another with the same history; a history alone has no vector."""
    recommender = Recommender.open(finished, "alfa")
    trainer = recommender._methods.trainers["federated"]
    test = trainer.market.test
    scores = trainer.scorer(test)(np.arange(len(test)))
    user = trainer.market.split.users[test.users[5]]
    found = recommender.recommend(user=user, k=3, method="federated")
    assert len(found.items) == 3
    assert not np.allclose(scores[5], scores[6])
    with pytest.raises(UserError, match="knows users by their vectors"):
        recommender.recommend([found.items[0].item], method="federated")
    assert recommender.recommend([found.items[0].item], method="popularity").items


@pytest.mark.slow
def test_other_processes_come_to_the_same(synthetic: Path, finished: Path, tmp_path: Path) -> None:
    if kind_of(finished) != "neumf":
        pytest.skip("one of them is enough for the processes")
    again = tmp_path / "run"
    summary = prepare_simulation(small("neumf", "engine.workers=2"), synthetic, again).start()
    assert comparable(summary) == comparable(json.loads((finished / "summary.json").read_text()))
