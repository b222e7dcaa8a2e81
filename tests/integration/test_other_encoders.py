"""Every encoder through a whole run: federated, alone and pooled, the same on every engine of this machine."""

import json
from pathlib import Path

import pytest
from torch import nn

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
    if name == "bert4rec":  # it draws what is hidden; one of them is enough for the processes
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
    with pytest.raises(
        RunError, match="encoder 'counting' under loss 's2ce': the gradient of .* moves with who else is there"
    ):
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


class Ahead(Last):
    """Sees the whole history at every position."""

    class Settings(Last.Settings):
        kind: str = "ahead"

    def forward(self, x, adapters=()):
        return self.map(x) + x.mean(dim=1, keepdim=True)


class Breaks(Last):
    """Has a bug."""

    class Settings(Last.Settings):
        kind: str = "breaks"

    def forward(self, x, adapters=()):
        return self.mapp(x)


class Narrow(Last):
    """Its states have another width than they must."""

    class Settings(Last.Settings):
        kind: str = "narrow"

    def __init__(self, settings, sizes):
        super().__init__(settings, sizes)
        self.map = nn.Linear(sizes.dimension, 3)


def test_what_breaks_in_a_market_is_shown_to_who_has_its_disk(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market itself says no more than the kind of the error."""
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("encoder", "breaks", Breaks)
    with pytest.raises(RunError, match=r"AttributeError: .*mapp.*; traceback in .*client.log") as caught:
        prepare_simulation(quick("encoder.kind=breaks"), synthetic, tmp_path / "run").start()
    log = Path(str(caught.value).rpartition("traceback in ")[2])
    assert "Traceback (most recent call last)" in log.read_text()
    sent = [
        json.loads(line).get("reason", "")
        for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
        if "error" in line
    ]
    assert not any("mapp" in reason for reason in sent if reason)


@pytest.mark.parametrize(
    ("kind", "encoder", "complaint"),
    [
        ("ahead", Ahead, "encoder 'ahead': a state moves with an item that comes later"),
        ("narrow", Narrow, r"encoder 'narrow': states of shape \(2, 6, 3\) for items of shape \(2, 6, 16\)"),
    ],
)
def test_what_would_run_and_be_worthless_is_refused(
    kind: str, encoder: type, complaint: str, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("encoder", kind, encoder)
    with pytest.raises(RunError, match=complaint):
        prepare_simulation(quick(f"encoder.kind={kind}"), synthetic, tmp_path / "run").start()
