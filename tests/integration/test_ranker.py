"""The shared ranker in a federation: what leaves, what chooses, and the same in other processes and after a stop."""

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Error, Message
from safetensors.numpy import load_file

from fedrec.clients.app import app as client_app
from fedrec.data.store import open_store
from fedrec.data.synth import write_synthetic_markets
from fedrec.errors import UserError
from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe
from fedrec.runs.folder import RunFolder
from fedrec.runs.shared import read_shared_model
from fedrec.runs.summary import comparable
from fedrec.simulation.adapt import prepare_adaptation
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation, resume_simulation
from fedrec.simulation.tuning import validation
from fedrec.stopping import over_markets
from fedrec.training.prepared import PreparedMarket
from fedrec.training.ranker.trainer import RankerTrainer
from tests.conftest import TINY
from tests.integration.harness import Stopped, Stopping, WatchedApp

SMALL = (
    "algorithm.hidden=8",
    "federation.rounds=4",
    "ease.lambdas=[10]",
    "scores.kind=none",
    "evaluation.resamples=20",
    "evaluation.methods=[federated, local, popularity, ease]",
)
MODELS = ("shared/model.safetensors", "markets/alfa/federated.safetensors", "markets/bravo/local.safetensors")


class Failing:
    """The markets' app, which fails in some rounds of an action."""

    def __init__(self, action: str, rounds: set[int]) -> None:
        self.action, self.rounds = action, rounds

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type == self.action and int(message.metadata.group_id) in self.rounds:
            return Message(Error(1000, "down"), reply_to=message)
        return client_app(message, context)


def small(*overrides: str) -> Recipe:
    return load_recipe("ranker", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranker") / "run"
    prepare_simulation(small(), synthetic, out).start()
    return out


def summary_of(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def test_it_learns_to_rank(finished: Path) -> None:
    """Untrained it scores all candidates alike, and then nothing is found."""
    means = summary_of(finished)["mean"]
    assert set(means) == {"federated", "local", "popularity", "ease"}  # nothing is mixed, so nothing is without prior
    assert means["federated"]["ndcg@10"] > 0.9 * max(means[name]["ndcg@10"] for name in ("ease", "popularity"))
    assert means["local"]["ndcg@10"] > 0.8 * means["federated"]["ndcg@10"]


def test_rounds_are_done_again_with_validation_users(finished: Path) -> None:
    """As many as were best, and nobody validates them."""
    rounds = summary_of(finished)["rounds"]
    stages = [record["stage"] for record in rounds]
    best = RunFolder(finished).read_journal().chosen["best_round"]
    assert stages == ["pretrain"] * 4 + ["refit"] * best
    assert all(record["validation_before"] is None for record in rounds[4:])
    sent = {line["name"] for line in read_json_lines(finished / "ledger.jsonl") if line["action"] == "train.refit"}
    assert sent == {"hidden.bias", "hidden.weight", "linear.weight", "output.weight", "loss", "seconds", "weight"}


def test_what_chooses_is_validation_before_the_refit(finished: Path) -> None:
    """The refitted model has learned from validation users; its figure would say nothing."""
    journal = RunFolder(finished).read_journal()
    said = [record["validations_before"] for record in summary_of(finished)["rounds"] if record["stage"] == "pretrain"]
    told = [
        event["validation"] for event in read_json_lines(finished / "events.jsonl") if event["event"] == "validated"
    ]
    figures = [over_markets(one.values()) for one in said] + told
    assert over_markets(journal.chosen["validations"].values()) == pytest.approx(max(figures))
    assert validation(RunFolder(finished)) == pytest.approx(np.mean(list(journal.chosen["validations"].values())))
    assert not any("validation" in scalars for scalars in journal.steps["train.finetune"].values())


def test_what_leaves_are_counts_of_at_least_so_many_users(synthetic: Path, tmp_path: Path) -> None:
    app, recipe = WatchedApp(), small("algorithm.min_count=3", "evaluation.methods=[federated]")
    prepare_simulation(recipe, synthetic, tmp_path / "run").start(client_app=app)
    replies = [reply for reply in app.seen if reply.metadata.message_type == "query.statistics"]
    assert len(replies) == 3
    for reply in replies:
        arrays = {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}
        counts = np.concatenate([array for name, array in arrays.items() if name.endswith(".count")])
        assert len(counts)
        assert counts.min() >= 3


def test_a_market_keeps_what_the_others_said_of_its_own_items(finished: Path, synthetic: Path) -> None:
    kept = load_file(finished / "markets" / "alfa" / "statistics.safetensors")
    prepared = {
        name: PreparedMarket(open_store(synthetic / name), load_recipe(str(finished / "recipe.yaml")))
        for name in ("alfa", "bravo", "charlie")
    }
    place = {key: number for number, key in enumerate(prepared["alfa"].items)}
    expected: dict[tuple[int, int], int] = {}
    for name in ("bravo", "charlie"):
        market, own = prepared[name], {}
        for user in range(len(market.train)):
            history = market.train.take(np.array([user])).items
            for pair in combinations(sorted(market.items[item] for item in history), 2):
                own[pair] = own.get(pair, 0) + 1
        for (first, second), count in own.items():
            if count >= 2 and first in place and second in place:
                pair = tuple(sorted((place[first], place[second])))
                expected[pair] = expected.get(pair, 0) + count
    found = zip(*(kept[f"together.{part}"].tolist() for part in ("first", "second", "count")), strict=True)
    assert {(i, j): count for i, j, count in found if i != j} == expected


def test_it_recommends(finished: Path) -> None:
    """A candidate is no item of the history, and the ranker's order is that of its scores."""
    recommender = Recommender.open(finished, "alfa")
    history = ["item-00000", "item-00007"]
    found = recommender.recommend(history, k=5, method="federated").items
    assert len(found) == 5
    assert not {one.item for one in found} & set(history)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["engine.workers=2", "engine.kind=ray"])
def test_other_processes_come_to_the_same(engine: str, synthetic: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary = prepare_simulation(small(engine), synthetic, out).start()
    assert comparable(summary) == comparable(summary_of(finished))
    for name in MODELS:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_run_that_stopped_in_the_refit_goes_on_there(synthetic: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        prepare_simulation(small(), synthetic, out).start(client_app=Stopping("train.refit", 2))
    summary = resume_simulation(out).start()
    assert comparable(summary) == comparable(summary_of(finished))
    for name in MODELS:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("finetune.epochs=3", "finetune.epochs"),
        ("evaluation.protocol=acmr", "protocol acmr"),
        ("pacer.scales=share", "pacer"),
        ("privacy.epsilon=8~scores.kind=fecosr", "no place in a ranker's epsilon"),
        ("privacy.epsilon=8~algorithm.statistics=own", "all that a ranker's markets share"),
        ("market_privacy.epsilon=8", "has no"),
        ("evaluation.methods=[federated, pooled]", "pooled: not of algorithm.kind 'ranker'"),
    ],
)
def test_what_does_not_go_with_it_is_refused(setting: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        small(*setting.split("~"))


@pytest.fixture(scope="module")
def newcomers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two markets that were in no federation; some of their items are of the others', too."""
    data = tmp_path_factory.mktemp("newcomers") / "data"
    write_synthetic_markets(data, replace(TINY, markets=("delta", "echo"), seed=4))
    return data


@pytest.mark.parametrize("catalogue", ["known", "union"])
def test_markets_that_come_later_take_the_statistics_along(
    catalogue: str, newcomers: Path, synthetic: Path, finished: Path, tmp_path: Path
) -> None:
    """They say nothing but their keys, and their ranker is the federation's, on what that knows of their items."""
    out = tmp_path / "run"
    summary = prepare_adaptation(finished / "shared", newcomers, out, [f"evaluation.catalogue={catalogue}"]).start()
    assert not [line for line in read_json_lines(out / "ledger.jsonl") if line["kind"] == "array"]
    shared, recipe = read_shared_model(finished / "shared"), load_recipe(str(out / "recipe.yaml"))
    assert shared.statistics is not None
    items = PreparedMarket(open_store(newcomers / "delta"), recipe).items
    if catalogue == "union":
        items = json.loads((out / "markets" / "delta" / "vocabulary.json").read_text())["items"]
    came = load_file(out / "markets" / "delta" / "statistics.safetensors")
    expected = shared.statistics.of(items).arrays()
    assert {name: array.tolist() for name, array in came.items()} == {n: a.tolist() for n, a in expected.items()}
    assert len(came["together.count"])
    ranker = load_file(out / "markets" / "delta" / "federated.safetensors")
    assert all(np.array_equal(ranker[name], value) for name, value in shared.parameters.items())
    assert not summary["failed"]


def test_statistics_are_those_of_one_protocol(newcomers: Path, finished: Path, tmp_path: Path) -> None:
    """Counts of train rows under another cut would tell what is held out."""
    with pytest.raises(UserError, match=r"evaluation\.holdout: .* counted under item"):
        prepare_adaptation(finished, newcomers, tmp_path / "run", ["evaluation.holdout=basket"])


def test_a_run_does_not_begin_with_a_model_that_knows_the_validation_users(
    synthetic: Path, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="rounds on validation users"):
        prepare_simulation(small(), synthetic, tmp_path / "run", warm_start=finished)


def test_the_same_recipe_again_in_one_process_is_the_same_run(synthetic: Path, finished: Path) -> None:
    """What a process remembers of a market has not learned from its validation users."""
    before = summary_of(finished)
    folder = finished.parent / "again"
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        assert comparable(prepare_simulation(small(), synthetic, folder).start()) == comparable(before)


def test_a_round_of_the_refit_that_is_missed_is_made_up_for(synthetic: Path, finished: Path, tmp_path: Path) -> None:
    best = RunFolder(finished).read_journal().chosen["aggregates"]
    app = Failing("train.refit", {1})
    summary = prepare_simulation(small(), synthetic, tmp_path / "run").start(client_app=app)
    refit = [record for record in summary["rounds"] if record["stage"] == "refit"]
    assert [bool(record["accepted"]) for record in refit] == [False] + [True] * best


def test_where_no_round_is_better_than_none_there_is_no_refit(
    synthetic: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Validation still says how good that is."""
    monkeypatch.setattr(RankerTrainer, "validation", lambda trainer: 0.5)
    prepare_simulation(small("evaluation.methods=[federated]"), synthetic, tmp_path / "run").start()
    run = RunFolder(tmp_path / "run")
    assert run.read_journal().chosen["best_round"] == 0
    assert {record["stage"] for record in summary_of(run.path)["rounds"]} == {"pretrain"}
    assert validation(run) == 0.5
