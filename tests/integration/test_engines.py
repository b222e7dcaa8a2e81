"""One pair of apps, three ways to run it on one machine: same figures, same bytes; trouble is met and named."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedrec.errors import RunError, UserError
from fedrec.files import read_json_lines
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.conftest import quickly
from tests.integration.harness import quick

SETTINGS = ("semantics.kind=cooccurrence", "evaluation.methods=[federated, local, popularity, itemknn, ease, fedease]")
MODELS = ("shared/model.safetensors", "markets/charlie/federated.safetensors", "markets/charlie/local.safetensors")
ENGINES = {"workers": "engine.workers=2", "ray": "engine.kind=ray"}


@pytest.fixture(scope="module")
def inline(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inline") / "run"
    prepare_simulation(quick(*SETTINGS), synthetic, out).start()
    return out


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_engine_gives_the_same_run(engine: str, inline: Path, synthetic: Path, tmp_path: Path) -> None:
    """Summary, models and the ledger are equal; a person sees every answer."""
    out = tmp_path / "run"
    heard: list[tuple[str, str]] = []
    simulation = prepare_simulation(quick(*SETTINGS, engine), synthetic, out)
    summary = simulation.start(lambda market, action: heard.append((market, action)))
    assert comparable(summary) == comparable(json.loads((inline / "summary.json").read_text()))
    for name in (*MODELS, "ledger.jsonl"):
        assert (out / name).read_bytes() == (inline / name).read_bytes(), name
    assert heard.count(("bravo", "train.pretrain")) == len(summary["rounds"])


def troubled(app: str, synthetic: Path, out: Path, *overrides: str) -> list[dict[str, Any]]:
    recipe = quick("evaluation.methods=[federated]", *overrides)
    summary = prepare_simulation(recipe, synthetic, out).start(client_app=f"tests.integration.apps:{app}")
    assert not summary["failed"]
    rounds: list[dict[str, Any]] = summary["rounds"]
    return rounds


@pytest.mark.parametrize(
    "engine", [ENGINES["workers"], pytest.param(ENGINES["ray"], marks=pytest.mark.slow)], ids=ENGINES
)
def test_a_dead_process_is_named_and_replaced(engine: str, synthetic: Path, tmp_path: Path) -> None:
    """bravo's process ends in round 2, with bravo's reply alone; in round 3 all are there again."""
    rounds = troubled("dying", synthetic, tmp_path / "run", engine)
    assert [record["accepted"] for record in rounds] == [
        ["alfa", "bravo", "charlie"],
        ["alfa", "charlie"],
        ["alfa", "bravo", "charlie"],
    ]
    (rejected,) = rounds[1]["rejected"]
    assert rejected["market"] == "bravo"
    assert "died" in rejected["reason"]
    assert "replaced" in rejected["reason"]


@pytest.mark.slow  # a process that dies is of the same kind, and in the default
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_a_hanging_market_is_cut_off(engine: str, synthetic: Path, tmp_path: Path) -> None:
    # Well above what a process takes to start: who waits for one in the first round is not late.
    rounds = troubled("hanging", synthetic, tmp_path / "run", engine, "federation.deadline_seconds=15")
    assert [[one["market"] for one in record["rejected"]] for record in rounds] == [[], ["bravo"], []]


@pytest.mark.slow
def test_a_process_that_cannot_start_is_named(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("evaluation.methods=[popularity]", "engine.workers=2")
    with pytest.raises(RunError, match=r"the worker process of market '\w+' died \(exit code 1\)"):
        prepare_simulation(recipe, synthetic, tmp_path / "run").start(client_app="tests.integration.apps:no_such_app")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_an_interruption_ends_the_run(engine: str, synthetic: Path, tmp_path: Path) -> None:
    """Ctrl-C in the rounds: exit code 130, one line, no process left, and the run can be resumed."""
    settings = quickly("federation.rounds=500", "federation.patience=500", "evaluation.methods=[federated]", engine)
    command = [sys.executable, "-m", "fedrec.cli.main", "run", "fecosr", "--data", str(synthetic), "--out", "run"]
    command += [part for override in settings for part in ("--set", override)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    events = tmp_path / "run" / "events.jsonl"
    until = time.monotonic() + 240
    while not (events.exists() and '"round"' in events.read_text()):
        assert time.monotonic() < until
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "fedrec: interrupted" in complaint.splitlines()
    assert "Traceback" not in complaint
    assert resume_simulation(tmp_path / "run").stores


def test_a_deadline_needs_a_process_to_stop() -> None:
    with pytest.raises(UserError, match=r"engine\.workers=1"):
        quick("federation.deadline_seconds=5")


@pytest.mark.slow
def test_simulated_trouble_is_the_same_on_every_engine(synthetic: Path, tmp_path: Path) -> None:
    """Some drop out, some come late; late ones are refused by their round. Same seed, same trouble."""
    faults = ("federation.faults.dropout=0.3", "federation.faults.late=0.3", "federation.quorum=0.3")
    settings = (*faults, "federation.rounds=6", "federation.patience=6", "evaluation.methods=[federated]")
    first = prepare_simulation(quick(*settings), synthetic, tmp_path / "one").start()
    second = prepare_simulation(quick(*settings, "engine.workers=2"), synthetic, tmp_path / "two").start()
    assert comparable(first) == comparable(second)
    reasons = [one["reason"] for record in first["rounds"] for one in record["rejected"]]
    assert any(reason == "no reply" for reason in reasons)
    assert any("expected" in reason for reason in reasons)
    lines = read_json_lines(tmp_path / "one" / "events.jsonl")
    assert [line["round"] for line in lines if line["event"] == "round"] == [1, 2, 3, 4, 5, 6]
    kept = {path.name[:6] for path in (tmp_path / "one" / "late" / "train.pretrain").iterdir()}
    assert kept <= {"000003", "000004", "000005", "000006"}
