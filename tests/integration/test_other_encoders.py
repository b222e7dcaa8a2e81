"""Every encoder through a whole run: federated, alone and pooled, the same on every engine of this machine."""

import json
from pathlib import Path

import pytest

from fedrec.components import components, registry
from fedrec.errors import RunError, UserError
from fedrec.runs.summary import comparable
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation
from tests.components.test_registry import Apart, Counting, Last
from tests.integration.harness import quick

OTHERS = [name for name in components("encoder") if name != "transformer"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_of_another_encoder(name: str, synthetic: Path, tmp_path: Path) -> None:
    words = (f"encoder.kind={name}", "evaluation.methods=[federated, local, pooled, popularity]")
    summary = prepare_simulation(quick(*words), synthetic, tmp_path / "one").start()
    assert {"federated", "local", "pooled"} <= set(summary["mean"])
    assert not summary["failed"]
    assert summary["rounds"][-1]["validation_before"] != summary["rounds"][0]["validation_before"]
    assert Recommender.open(tmp_path / "one", "alfa").recommend(history=["item-00003"]).items
    other = prepare_simulation(quick(*words, "engine.workers=2"), synthetic, tmp_path / "two").start()
    assert comparable(other) == comparable(summary)
    ledger = (tmp_path / "one" / "ledger.jsonl").read_text().splitlines()
    sent = {entry["name"] for entry in map(json.loads, ledger) if entry["kind"] == "array"}
    assert any(sent_name.startswith("encoder.") for sent_name in sent)


def test_under_privacy_a_component_is_tried_and_not_believed(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("encoder", "counting", Counting)
    registry.register("encoder", "apart", Apart)
    words = ("evaluation.methods=[federated]", "privacy.epsilon=8", "privacy.delta=0.0001", "semantics.kind=hashing")
    with pytest.raises(RunError, match="encoder 'counting': the gradient of .* moves with who else is there"):
        prepare_simulation(quick("encoder.kind=counting", *words), synthetic, tmp_path / "one").start()
    summary = prepare_simulation(quick("encoder.kind=apart", *words), synthetic, tmp_path / "two").start()
    assert [record["rejected"] for record in summary["rounds"]] == [[]] * len(summary["rounds"])


def test_what_a_notebook_registered_runs_in_this_process_alone(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("encoder", "last", Last)
    words = ("encoder.kind=last", "evaluation.methods=[federated, local]")
    assert not prepare_simulation(quick(*words), synthetic, tmp_path / "one").start()["failed"]
    for engine in ("engine.workers=2", "engine.kind=ray"):
        with pytest.raises(UserError, match="encoder 'last' is known to this process alone"):
            prepare_simulation(quick(*words, engine), synthetic, tmp_path / "two")
