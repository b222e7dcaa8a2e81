"""A ranker under privacy: noised pairs leave once, and nothing that was trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from safetensors.numpy import load_file

from fedrec.clients.app import app as client_app
from fedrec.data.store import open_store
from fedrec.errors import RunError, UserError
from fedrec.exchange.payload import ARRAYS
from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.adapt import prepare_adaptation
from fedrec.simulation.audit import audit
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation, resume_simulation
from fedrec.training.prepared import PreparedMarket
from tests.integration.harness import Stopping

MARKETS = ("alfa", "bravo", "charlie")
SMALL = (
    "algorithm.hidden=8",
    "federation.rounds=3",
    "ease.lambdas=[10]",
    "evaluation.resamples=20",
    "evaluation.methods=[federated, local, popularity]",
    "privacy.accountant=rdp",
)


def private(*overrides: str) -> Recipe:
    """An epsilon so large that counts stand out even in markets of forty users."""
    return load_recipe("ranker", [*SMALL, "privacy.epsilon=500", "privacy.reports=outside", *overrides])


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("private") / "run"
    prepare_simulation(private(), synthetic, out).start()
    return out


def summary_of(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def test_one_noised_release_is_all_that_leaves(finished: Path) -> None:
    lines = read_json_lines(finished / "ledger.jsonl")
    arrays = [line for line in lines if line["kind"] == "array"]
    assert {(line["action"], line["name"]) for line in arrays} == {("query.statistics", "pairs")}
    assert all(line["provenance"].startswith("noised") for line in arrays)
    summary = summary_of(finished)
    assert summary["rounds"] == []
    assert summary["privacy"]["epsilon"] <= 500
    for market in MARKETS:
        (charge,) = json.loads((finished / "markets" / market / "privacy.json").read_text())["charges"].values()
        assert charge["what"] == "item pairs"


def test_what_others_have_in_common_is_learned_from(finished: Path) -> None:
    """The counts that a market makes of the noised sum are about those that the others really have."""
    summary = summary_of(finished)
    assert {"federated", "local", "popularity"} == set(summary["mean"])
    assert summary["mean"]["federated"] != summary["mean"]["local"]
    for market in MARKETS:
        arrays = load_file(finished / "markets" / market / "statistics.safetensors")
        assert len(arrays["together.count"]) > 5
        assert not any(len(value) for name, value in arrays.items() if not name.startswith("together."))


def test_own_pairs_are_taken_out(synthetic: Path, tmp_path: Path) -> None:
    """Of a federation of two, a market is left with about what the other has: never with its own."""
    words = ("data.markets=[alfa, bravo]", "privacy.epsilon=100000", "evaluation.methods=[federated]")
    prepare_simulation(private(*words), synthetic, tmp_path / "run").start()
    arrays = load_file(tmp_path / "run" / "markets" / "alfa" / "statistics.safetensors")
    cells = zip(arrays["together.first"], arrays["together.second"], arrays["together.count"], strict=True)
    told = {int(first): int(count) for first, second, count in cells if first == second}
    recipe = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    own, other = (PreparedMarket(open_store(synthetic / name), recipe) for name in ("alfa", "bravo"))
    place = {key: index for index, key in enumerate(own.items)}
    users = other.train.matrix().astype(bool).T.astype(int)
    common = {place[key]: int(users[row].sum()) for row, key in enumerate(other.items) if key in place}
    assert set(told) <= {item for item, count in common.items() if count}
    assert len(told) > 5
    expected = np.array([common[item] for item in told])
    assert np.corrcoef(list(told.values()), expected)[0, 1] > 0.9


def test_nothing_trained_leaves_whatever_is_asked(synthetic: Path, tmp_path: Path) -> None:
    """A coordinator that asks for rounds after all."""
    for action in ("train.pretrain", "train.refit"):

        def app(message: Any, context: Any, action: str = action) -> Any:
            if message.metadata.message_type == "train.finetune":
                message.metadata._message_type = action
                message.content[ARRAYS] = ArrayRecord({})
            return client_app(message, context)

        out = tmp_path / action
        with pytest.raises(RunError):
            prepare_simulation(private("evaluation.methods=[federated]"), synthetic, out).start(client_app=app)
        lines = read_json_lines(out / "ledger.jsonl")
        assert {line["action"] for line in lines if line["kind"] == "array"} == {"query.statistics"}


def test_the_same_under_masks(finished: Path, synthetic: Path, tmp_path: Path) -> None:
    """The secrets differ from run to run, so only that it works and what leaves can be compared."""
    out = tmp_path / "run"
    summary = prepare_simulation(private("masks.enabled=true"), synthetic, out).start()
    assert set(summary["mean"]) == {"federated", "local", "popularity"}
    arrays = [line for line in read_json_lines(out / "ledger.jsonl") if line["kind"] == "array"]
    assert {(line["action"], line["dtype"]) for line in arrays} == {("query.statistics", "uint32")}
    for run in (finished, out):
        assert len(load_file(run / "markets" / "alfa" / "statistics.safetensors")["together.count"]) > 5


def test_resumed_recommended_and_not_adapted(finished: Path, synthetic: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        prepare_simulation(private(), synthetic, out).start(client_app=Stopping("train.finetune", 0))
    for market in MARKETS:  # the same noise
        secret = (finished / "markets" / market / "secret").read_bytes()
        assert (out / "markets" / market / "secret").read_bytes() != secret
    resumed = resume_simulation(out).start()
    assert comparable(resumed)["mean"].keys() == comparable(summary_of(finished))["mean"].keys()
    recommended = Recommender.open(finished, "alfa").recommend(["item-00000", "item-00007"], k=5, method="federated")
    assert len(recommended.items) == 5
    with pytest.raises(UserError):
        prepare_adaptation(finished, synthetic, tmp_path / "adapted")


def test_its_noised_pairs_are_audited(synthetic: Path, tmp_path: Path) -> None:
    words = ("data.user_share=0.6", "privacy.epsilon=2", "evaluation.methods=[federated]")
    prepare_simulation(private(*words), synthetic, tmp_path / "run").start()
    result = audit(tmp_path / "run")
    by = {found["by"] for found in result["findings"] if found["attack"] == "membership of a user"}
    assert "item pairs" in by
    assert result["mechanism"]["epsilon_at_least"] <= result["mechanism"]["epsilon_stated"] <= 2
