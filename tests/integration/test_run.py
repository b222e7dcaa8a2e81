"""The main job end to end, on the real apps."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict, UserConfig
from safetensors.numpy import load_file

from fedrec.data.store import open_stores
from fedrec.deployment.run import deployed
from fedrec.errors import UserError
from fedrec.files import read_json_lines
from fedrec.models.sequential import SequentialModel
from fedrec.recipe import load_recipe, recipe_names
from fedrec.runs.shared import SharedModel
from fedrec.runs.summary import comparable
from fedrec.simulation.adapt import adaptation_recipe
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK, quickly
from tests.integration.harness import WatchedApp, quick, run_with


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run with pair counts exchanged, so that as much as possible leaves."""
    out = tmp_path_factory.mktemp("runs") / "first"
    prepare_simulation(quick("semantics.kind=cooccurrence"), synthetic, out).start()
    return out


def test_the_summary_has_every_method_in_every_market(finished: Path, synthetic: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    methods = {"federated", "local", "popularity", "ease", "prior", "federated_without_prior", "local_without_prior"}
    assert set(summary["mean"]) == methods
    for store in open_stores(synthetic):
        figures = summary["markets"][store.name]
        assert (figures["users"], figures["items"], figures["interactions"]) == (store.users, store.items, store.count)
        assert set(figures["results"]) == methods
        gain = figures["gain"]["ndcg@10"]
        difference = figures["results"]["federated"]["ndcg@10"] - figures["results"]["local"]["ndcg@10"]
        assert gain["mean"] == pytest.approx(difference, abs=1e-12)
        assert gain["low"] <= gain["mean"] <= gain["high"]
    assert summary["schema"] == 2
    assert [record["accepted"] for record in summary["rounds"]] == [["alfa", "bravo", "charlie"]] * 3
    assert all(-1 <= record["drift"] <= 1 for record in summary["rounds"])


def test_same_seed_same_summary_same_models_other_seed_others(finished: Path, synthetic: Path, tmp_path: Path) -> None:
    for seed, equal in ((0, True), (1, False)):
        out = tmp_path / f"seed-{seed}"
        recipe = quick("semantics.kind=cooccurrence", f"seed={seed}")
        summary = prepare_simulation(recipe, synthetic, out).start()
        first = json.loads((finished / "summary.json").read_text())
        assert (comparable(summary) == comparable(first)) is equal
        for name in (
            "shared/model.safetensors",
            "markets/alfa/federated.safetensors",
            "markets/alfa/local.safetensors",
        ):
            assert ((out / name).read_bytes() == (finished / name).read_bytes()) is equal, name


def test_the_ledger_lists_what_left_and_nothing_private(finished: Path) -> None:
    entries = read_json_lines(finished / "ledger.jsonl")
    assert {entry["market"] for entry in entries} == {"alfa", "bravo", "charlie"}
    arrays = {entry["name"] for entry in entries if entry["kind"] == "array"}
    model = load_file(finished / "markets" / "alfa" / "federated.safetensors")
    assert arrays == set(SequentialModel.groups.shared_names(model)) | {"first", "second", "count"}
    one_round = [entry for entry in entries if entry["round"] == 2 and entry["market"] == "alfa"]
    sizes = {entry["name"]: entry["bytes"] for entry in one_round if entry["kind"] == "array"}
    assert sizes == {name: model[name].nbytes for name in SequentialModel.groups.shared_names(model)}


def test_no_user_no_interaction_no_private_parameter_leaves(synthetic: Path, tmp_path: Path) -> None:
    """Reads every byte the Grid and the ledger saw, of a run in which one market fails a stage as well.

    User ids are searched as text. Interactions would have to travel as numbers: no integer array but the pair counts
    leaves, and those count at least two users. Private parameters are searched as bytes, sixteen numbers at a time.
    """
    app = WatchedApp()
    recipe = quick("semantics.kind=cooccurrence")
    run_with(app, recipe, synthetic, tmp_path / "run")
    (tmp_path / "run" / "markets" / "bravo" / "semantics.safetensors").unlink()
    question = Message(app.seen[-1].content, 1002, "train.finetune", group_id="0")
    assert app(question, _context("bravo", synthetic, tmp_path)).has_error()
    seen = b"".join(_bytes(reply) for reply in app.seen)
    seen += b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("ledger.jsonl"))
    assert len(seen) > 100_000
    for store in open_stores(synthetic):
        users = store.interactions["user_id"].unique().to_list()
        assert not [user for user in users if user.encode() in seen]
        assert store.catalogue["item_id"][0].encode() in seen  # the search does find what is there
        private = load_file(tmp_path / "run" / "markets" / store.name / "federated.safetensors")
        for name, array in private.items():
            content = np.ascontiguousarray(array).tobytes()
            windows = [content[start : start + 64] for start in range(0, len(content), 64)]
            if name.startswith(SequentialModel.groups.private):
                assert not [window for window in windows if len(set(window)) > 8 and window in seen], name
    for reply in app.seen:
        for record in reply.content.array_records.values() if reply.has_content() else ():
            for name, array in record.items():
                values = array.numpy()
                if np.issubdtype(values.dtype, np.integer):
                    assert name in {"first", "second", "count"}
                    assert name != "count" or values.min() >= recipe.semantics.min_count


def _context(market: str, data: Path, runs: Path) -> Context:
    config: UserConfig = {"market": market, "data-path": str(data), "state-path": str(runs)}
    return Context(1, 1002, config, RecordDict(), {})


def _bytes(reply: Message) -> bytes:
    """All that a reply carries: the text of an error, or the content with everything in it."""
    if reply.has_error():
        return str(reply.error.reason).encode()
    return b"".join(item.deflate() for item in _objects(reply.content))  # type: ignore[attr-defined]


def _objects(item: object) -> list[object]:
    children = item.children or {}  # type: ignore[attr-defined]
    return [item, *(found for child in children.values() for found in _objects(child))]


def test_the_local_baseline_on_shared_semantics(synthetic: Path, tmp_path: Path) -> None:
    """With text semantics nothing is exchanged, so this baseline knows what `local` knows and is `local`, bit for bit.
    With summed pair counts it is another model."""
    methods = "evaluation.methods=[local, local_shared_semantics]"
    for kind, equal in (("hashing", True), ("cooccurrence", False)):
        out = tmp_path / kind
        prepare_simulation(quick(methods, f"semantics.kind={kind}"), synthetic, out).start()
        folder = out / "markets" / "charlie"
        first, second = (folder / f"{name}.safetensors" for name in ("local", "local_shared_semantics"))
        assert (first.read_bytes() == second.read_bytes()) is equal, kind


def test_one_market_alone_and_methods_without_a_model(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("data.markets=[alfa]", "evaluation.methods=[popularity, ease]")
    summary = prepare_simulation(recipe, synthetic, tmp_path / "baselines").start()
    assert set(summary["mean"]) == {"popularity", "ease"}
    assert summary["rounds"] == []
    summary = prepare_simulation(quick("data.markets=[alfa]"), synthetic, tmp_path / "alone").start()
    assert summary["rounds"][0]["drift"] is None


def test_text_semantics_ask_for_no_item_key(synthetic: Path, tmp_path: Path) -> None:
    prepare_simulation(quick(), synthetic, tmp_path / "run").start()
    entries = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    assert not [entry for entry in entries if entry["action"] == "query.catalogue"]
    assert "item-" not in (tmp_path / "run" / "ledger.jsonl").read_text()


def test_nothing_is_written_for_a_mistake(synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="zulu not in"):
        prepare_simulation(quick("data.markets=[zulu]"), synthetic, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in {"codes", "neumf", "ranker"} else name
        for name in recipe_names()
    ],
)
def test_every_shipped_recipe_runs(name: str, synthetic: Path, tmp_path: Path) -> None:
    fits = (
        ["evaluation.protocol=temporal"] if name == "acmr" else []
    )  # these catalogues have too few strangers for its own
    summary = prepare_simulation(load_recipe(name, [*QUICK, *fits]), synthetic, tmp_path / "run").start()
    assert summary["recipe"] == name
    for metrics in summary["mean"].values():
        assert metrics["auc" if summary["protocol"] == "ctr" else "ndcg@10"] > 0


def test_the_demo_of_the_command_line(tmp_path: Path) -> None:
    """`fedrec run` without arguments, made small: table, folder, what to try next; lines are never wrapped."""
    settings = [part for override in quickly("federation.rounds=1") for part in ("--set", override)]
    command = [sys.executable, "-m", "fedrec.cli.main", "run", "--out", "run", *settings]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert any(line.startswith("round 1/1") for line in lines)
    (row,) = [line for line in lines if line.startswith("echo ")]
    assert len(row.split()) == 14  # market, users, share outside, seven methods, gain and its interval
    assert "try next" in result.stdout
    assert (tmp_path / "run" / "data" / "echo" / "market.yaml").is_file()
    assert {entry.name for entry in (tmp_path / "run").iterdir()} >= {
        "recipe.yaml", "manifest.json", "events.jsonl", "ledger.jsonl", "summary.json", "checkpoints", "markets",
    }  # fmt: skip


def test_a_failed_run_exits_1_and_says_why(synthetic: Path, tmp_path: Path) -> None:
    """A bound no update can keep: every reply is rejected in every round."""
    settings = [part for override in [*QUICK, "federation.norm_bound=1e-9"] for part in ("--set", override)]
    command = [
        sys.executable,
        "-m",
        "fedrec.cli.main",
        "run",
        "fecosr",
        "--data",
        str(synthetic),
        "--out",
        "run",
        *settings,
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "below quorum 3 times in a row" in result.stderr
    assert "above the bound" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_what_a_deployment_trained_is_adapted_on_one_machine() -> None:
    """A deployed run has deadlines, which a process that trains here cannot keep."""
    ready = deployed(quick("evaluation.methods=[federated, local]"))
    assert ready.federation.deadline_seconds
    recipe = adaptation_recipe(SharedModel(ready, {}, 1, None), [])
    assert recipe.engine.kind == "inline"
    assert recipe.federation.deadline_seconds is None
    assert recipe.federation.stage_deadline_seconds is None
