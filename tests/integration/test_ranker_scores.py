"""A ranker whose feature is another model's score: that model is trained first, without what the ranker is to find."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord
from safetensors.numpy import load_file

from fedrec.cli.main import app as app_of_commands
from fedrec.clients.app import app as client_app
from fedrec.clients.methods import make_trainer
from fedrec.clients.node import MarketNode
from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.data.store import open_store
from fedrec.data.synth import write_synthetic_markets
from fedrec.errors import RunError, UserError
from fedrec.exchange.declaration import REPORT
from fedrec.exchange.payload import PART, SCORES
from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.report.ledger import collect, flags
from fedrec.report.words import remarks
from fedrec.runs.shared import read_shared_model
from fedrec.runs.summary import comparable
from fedrec.simulation.adapt import prepare_adaptation
from fedrec.simulation.inline import FIRST_NODE, InlineGrid
from fedrec.simulation.nodes import NodeConfig
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation, resume_simulation
from fedrec.strategies.records import Answer, instruction, read_answer
from fedrec.training.prepared import PreparedMarket
from fedrec.training.ranker.trainer import RankerTrainer
from fedrec.training.sequential import SequentialTrainer
from tests.conftest import TINY
from tests.integration.harness import Stopped, Stopping

SMALL = (
    "scores.kind=fecosr",
    "algorithm.hidden=8",
    "federation.rounds=3",
    "scores.rounds=2",
    "scores.finetune_epochs=1",
    "model.dimension=16",
    "encoder={kind: transformer, layers: 1}",
    "semantics.kind=cooccurrence",
    "semantics.dimension=16",
    "evaluation.resamples=20",
    "evaluation.methods=[federated, local]",
)
MODELS = (
    "shared/model.safetensors",
    "shared/scores/model.safetensors",
    "markets/alfa/federated.safetensors",
    "markets/alfa/scores/federated.safetensors",
    "markets/bravo/local.safetensors",
    "markets/bravo/scores/local.safetensors",
)


def small(*overrides: str) -> Recipe:
    return load_recipe("ranker", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "run"
    prepare_simulation(small(), synthetic, out).start()
    return out


def summary_of(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def same_models(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in MODELS)


def test_the_model_is_trained_before_the_ranker_in_a_part_of_the_run(finished: Path) -> None:
    stages = [record["stage"] for record in summary_of(finished)["rounds"]]
    assert stages[:5] == ["scores"] * 2 + ["pretrain"] * 3
    lines = read_json_lines(finished / "ledger.jsonl")
    trained = [line for line in lines if line["action"] == "train.pretrain" and line["kind"] == "array"]
    encoder = {line["name"] for line in trained if line.get("part") == SCORES}
    ranker = {line["name"] for line in trained if "part" not in line}
    assert ranker == {"hidden.bias", "hidden.weight", "linear.weight", "output.weight"}
    assert any(name.startswith("encoder.") for name in encoder)
    found = collect(lines, load_recipe(str(finished / "recipe.yaml")).algorithms)
    assert not [flag for flag in flags(found, private=False) if "not declared" in flag]
    assert [flag for flag in flags(collect(lines, {"": "ranker"}), private=False) if "not declared" in flag]
    assert not encoder & ranker


def test_its_score_is_one_feature_more(finished: Path, synthetic: Path) -> None:
    """And it counts: without it the ranker ranks otherwise."""
    node = MarketNode(open_store(synthetic / "alfa"), finished / "markets" / "alfa")
    recipe = load_recipe(str(finished / "recipe.yaml"))
    for method, features in (("federated", 45), ("local", 23)):
        trainer = make_trainer(node, recipe, method)
        assert isinstance(trainer, RankerTrainer)
        weights = load_file(node.model(method))
        assert trainer.model.linear.weight.shape == (1, 2 * features)
        assert weights["linear.weight"].shape == (1, 2 * features)
        assert abs(weights["linear.weight"][0, [features - 1, 2 * features - 1]]).max() > 0.001


def test_it_has_not_seen_what_the_ranker_is_to_find(synthetic: Path) -> None:
    """Not as a target and not in item vectors; after it is trained, its scores are of whole histories."""
    store = open_store(synthetic / "alfa")
    recipe = small()
    whole = MarketNode(store, Path("run/markets/alfa")).prepare(recipe)
    part = MarketNode(store, Path("run/markets/alfa")).within(SCORES).prepare(recipe.scoring)
    long = np.flatnonzero(whole.train.lengths > 1)
    assert len(part.train) == len(long)
    for seen, user in enumerate(long):
        history = whole.train.take(np.array([user])).items
        assert part.train.take(np.array([seen])).items.tolist() == history[:-1].tolist()
    counted = np.bincount(part.train.items, minlength=len(whole.items))
    assert (part.evidence.histories.sum(axis=0) == counted).all()
    for stage in ("validation", "test"):
        mine, theirs = getattr(part, stage).histories, getattr(whole, stage).histories
        assert mine.items.tolist() == theirs.items.tolist()


def test_a_market_that_is_alone_has_a_model_of_its_own(finished: Path, synthetic: Path, tmp_path: Path) -> None:
    """The baseline and its score know nothing of the others: with one market less they are the same."""
    prepare_simulation(small("data.markets=[alfa, bravo]"), synthetic, tmp_path / "run").start()
    for name, same in (("local", True), ("federated", False)):
        for file in (f"markets/alfa/{name}.safetensors", f"markets/alfa/scores/{name}.safetensors"):
            assert ((tmp_path / "run" / file).read_bytes() == (finished / file).read_bytes()) == same, file


@pytest.mark.parametrize("round_and_part", [(2, "scores"), (2, "ranker")])
def test_a_run_that_stopped_goes_on_where_it_stood(
    round_and_part: tuple[int, str], synthetic: Path, finished: Path, tmp_path: Path
) -> None:
    out, (number, part) = tmp_path / "run", round_and_part
    stopping = Stopping("train.pretrain", number)
    if part == "ranker":
        stopping.seen = -3  # the three markets' answers for the scores' model are let through
    with pytest.raises(Stopped):
        prepare_simulation(small(), synthetic, out).start(client_app=stopping)
    told = [event for event in read_json_lines(out / "events.jsonl") if event["event"] == "round"]
    assert ("pretrain" in {event["stage"] for event in told}) == (part == "ranker")
    summary = resume_simulation(out).start()
    assert comparable(summary) == comparable(summary_of(finished))
    assert same_models(out, finished)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["engine.workers=2", "engine.kind=ray"])
def test_other_processes_come_to_the_same(engine: str, synthetic: Path, finished: Path, tmp_path: Path) -> None:
    summary = prepare_simulation(small(engine), synthetic, tmp_path / "run").start()
    assert comparable(summary) == comparable(summary_of(finished))
    assert same_models(tmp_path / "run", finished)


@pytest.mark.slow
def test_codes_may_give_the_scores(synthetic: Path, tmp_path: Path) -> None:
    """Their codebook has rounds of its own before."""
    codes = ("scores.kind=codes", "semantics.kind=auto", "codes.rounds=2", "codes.global_levels=[8]")
    summary = prepare_simulation(small(*codes, "codes.local_levels=[4]"), synthetic, tmp_path / "run").start()
    stages = list(dict.fromkeys(record["stage"] for record in summary["rounds"]))
    assert stages[:3] == ["codebook", "scores", "pretrain"]
    assert not summary["failed"]


def test_it_recommends_and_what_it_is_made_of_is_sealed(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    found = Recommender.open(run, "alfa").recommend(["item-00000"], k=3, method="federated").items
    assert len(found) == 3
    model = run / "markets" / "alfa" / "scores" / "federated.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"scores/federated\.safetensors: not"):
        Recommender.open(run, "alfa").recommend(["item-00000"], k=3, method="federated")


def test_newcomers_adapt_the_model_and_take_its_scores(finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_synthetic_markets(data, replace(TINY, markets=("delta", "echo"), seed=4))
    out = tmp_path / "run"
    summary = prepare_adaptation(finished / "shared", data, out).start()
    assert not summary["failed"]
    assert not [line for line in read_json_lines(out / "ledger.jsonl") if line["kind"] == "array"]
    shared = read_shared_model(finished / "shared")
    assert shared.scores is not None
    kept = load_file(out / "markets" / "delta" / "scores" / "federated.safetensors")
    assert set(shared.scores.parameters) <= set(kept)
    ranker = load_file(out / "markets" / "delta" / "federated.safetensors")
    assert all(np.array_equal(ranker[name], value) for name, value in shared.parameters.items())


def test_newcomers_take_the_scores_that_the_ranker_knows(finished: Path, synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scores\.kind: the ranker of .* was trained on other scores"):
        prepare_adaptation(finished / "shared", synthetic, tmp_path / "run", ["scores.kind=none"])


def test_an_export_without_the_scores_model_is_refused(finished: Path, tmp_path: Path) -> None:
    shared = shutil.copytree(finished / "shared", tmp_path / "shared")
    shutil.rmtree(shared / "scores")
    with pytest.raises(UserError, match=r"scores/model\.json: missing"):
        read_shared_model(shared)


def test_a_question_of_a_part_that_the_recipe_does_not_have_is_refused(synthetic: Path, tmp_path: Path) -> None:
    """Whatever the coordinator writes beside the recipe."""

    def ask(part: str, *overrides: str) -> None:
        def app(message: Any, context: Any) -> Any:
            if message.metadata.message_type == "train.pretrain":
                message.content.config_records["config"][PART] = part
            return client_app(message, context)

        with pytest.raises(RunError, match="a part that this run's recipe does not have"):
            prepare_simulation(small(*overrides), synthetic, tmp_path / str(len(part))).start(client_app=app)

    ask("scores", "scores.kind=none")
    ask("../../elsewhere")


def test_a_part_is_not_evaluated(synthetic: Path, tmp_path: Path) -> None:
    """The test is read for what the run ends with, whatever the coordinator asks."""

    def app(message: Any, context: Any) -> Any:
        if message.metadata.message_type == REPORT:
            message.content.config_records["config"][PART] = SCORES
        return client_app(message, context)

    with pytest.raises(RunError, match="a part of a run is not evaluated"):
        prepare_simulation(small(), synthetic, tmp_path / "run").start(client_app=app)


def test_what_fails_in_the_part_is_named_by_it(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market's rounds on the ranker fail then, in words."""
    finetune = SequentialTrainer.finetune

    def failing(trainer: SequentialTrainer) -> Any:
        if trainer.name == "charlie":
            raise RunError("no memory left")
        return finetune(trainer)

    monkeypatch.setattr(SequentialTrainer, "finetune", failing)
    summary = prepare_simulation(small("evaluation.methods=[federated]"), synthetic, tmp_path / "run").start()
    assert {"market": "charlie", "action": "scores: train.finetune", "reason": "error 1000: no memory left"} in summary[
        "failed"
    ]
    (line,) = [
        line
        for line in read_json_lines(tmp_path / "run" / "markets" / "charlie" / "ledger.jsonl")
        if line["name"] == "error" and line.get("part") == SCORES
    ]
    assert line["action"] == "train.finetune"
    reasons = {one["reason"] for record in summary["rounds"] for one in record["rejected"]}
    assert "error 1000: the model whose scores are a feature is not finished in this market" in reasons


def test_a_model_for_scores_that_stayed_untrained_is_told_of(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SequentialTrainer, "validation", lambda trainer: 0.5)
    summary = prepare_simulation(small("evaluation.methods=[federated]"), synthetic, tmp_path / "run").start()
    assert summary["kept_first"] == ["scores"]
    assert any("model for scores won nothing" in remark for remark in remarks(summary, "ndcg@10"))


def test_a_market_trains_its_own_model_once_for_all_baselines(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, trained = SequentialTrainer.train_alone, []

    def counting(trainer: SequentialTrainer, *given: Any) -> Any:
        trained.append(trainer.name)
        return alone(trainer, *given)

    monkeypatch.setattr(SequentialTrainer, "train_alone", counting)
    methods = "evaluation.methods=[federated, local, local_shared_statistics]"
    prepare_simulation(small(methods), synthetic, tmp_path / "run").start()
    assert sorted(trained) == ["alfa", "bravo", "charlie"]


def test_few_users_with_something_to_hide_are_few_users(tmp_path: Path) -> None:
    """Whose train history is one item is not learned from."""
    rows = [("u0", "a", 1), ("u0", "b", 2), ("u0", "c", 3)]  # one is tested, one chooses, one is left
    rows += [(f"u{user}", item, user + place) for user in (1, 2) for place, item in enumerate("abcd")]
    text = "".join(f"{user},{item},2020-01-{day:02d}\n" for user, item, day in rows)
    (tmp_path / "rows.csv").write_text("who,what,when\n" + text)
    columns = {"user": "who", "item": "what", "time": "when"}
    run_import("csv", tmp_path / "rows.csv", tmp_path / "data", ImportOptions(columns, market="one"))
    store = open_store(tmp_path / "data" / "one")
    crowds = {
        name: PreparedMarket(store, load_recipe(name, ["evaluation.protocol=temporal"])).crowds[0]
        for name in ("fecosr", "ranker")
    }
    assert crowds == {"fecosr": 3, "ranker": 2}


def test_it_runs_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ranker does not do, fine-tuning, is not begun."""
    monkeypatch.chdir(tmp_path)
    app_of_commands(["run", "ranker", "--quick", "--out", "run"], standalone_mode=False)
    stages = [record["stage"] for record in summary_of(tmp_path / "run")["rounds"]]
    assert stages[:4] == ["scores"] * 2 + ["pretrain"] * 2


@pytest.mark.parametrize(
    ("recipe", "setting", "said"),
    [
        ("fecosr", "scores.kind=fecosr", "takes no scores"),
        ("ranker", "scores.kind=acmr", "scores.kind"),
        ("ranker", "encoder={kind: transformer, heads: 5}", "scores.kind 'fecosr': .*heads"),
        ("ranker", "federation.participation=0.5", "participation"),
        (
            "ranker",
            "semantics.kind=cooccurrence~evaluation.methods=[federated, fedease]~algorithm.statistics=own",
            "their difference is of single users",
        ),
        ("ranker", "evaluation={methods: [local], catalogue: union}", "add federated"),
        ("ranker", "evaluation.methods=[local]~scores.kind=codes", "add federated"),
        ("ranker", "codes.share_keys=false~scores.kind=codes", "codes.share_keys false"),
        ("ranker", "masks.enabled=true", "rounds of a second model do not go with masks"),
    ],
)
def test_what_does_not_fit_is_refused(recipe: str, setting: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_recipe(recipe, ["scores.kind=fecosr"] * ("scores.kind" not in setting) + setting.split("~"))


@pytest.mark.parametrize(
    ("settings", "counted_in"),
    [
        ("algorithm.statistics=summed", {("query.statistics", "")}),
        ("algorithm.statistics=own", {("query.catalogue", SCORES)}),
        ("scores.pairs=again", {("query.statistics", ""), ("query.catalogue", SCORES)}),
    ],
)
def test_pairs_are_counted_once(
    settings: str, counted_in: set[tuple[str, str]], synthetic: Path, tmp_path: Path
) -> None:
    """Item vectors of the part are made of the run's own sums where it has some: two counts could be subtracted."""
    recipe = small("evaluation.methods=[federated]", settings)
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    lines = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    counts = {(line["action"], line.get("part", "")) for line in lines if line["name"].endswith("count")}
    assert counts == counted_in


@pytest.mark.parametrize("action", ["query.catalogue", "query.gram", "query.statistics"])
def test_a_market_counts_no_pairs_for_a_part_again(action: str, synthetic: Path, tmp_path: Path) -> None:
    """Whatever the coordinator asks."""
    node = NodeConfig({"market": "alfa", "data-path": str(synthetic / "alfa"), "state-path": str(tmp_path)}, 1)
    grid = InlineGrid(client_app, [node])

    def ask(action: str, part: str) -> Answer:
        recipe = small("evaluation.protocol=temporal", "codes.alignment=gram")
        config = ConfigRecord({"run": "run", "recipe": recipe_json(recipe), "round": "1", PART: part})
        (reply,) = grid.send_and_receive([instruction(FIRST_NODE, action, 1, config)])
        return read_answer(reply, "alfa")

    assert ask("query.statistics", "").error is None
    answer = ask(action, SCORES)
    assert answer.error is not None
    assert "a second count of pairs" in answer.error
    assert not answer.payload.arrays


@pytest.mark.parametrize(("text", "kind"), [(True, "fecosr"), (False, "none")])
def test_auto_trains_a_model_where_it_needs_no_counts(text: bool, kind: str) -> None:
    recipe = load_recipe("ranker")
    assert not recipe.is_resolved
    found = recipe.resolved(every_market_has_families=False, every_market_has_text=text)
    assert (found.is_resolved, found.scores.kind) == (True, kind)
    assert load_recipe("ranker", ["semantics.kind=cooccurrence"]).resolved(False, text).scores.kind == "none"
