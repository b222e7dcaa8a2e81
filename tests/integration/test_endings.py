"""How a run ends that is told to end, and what a terminal or a disk that is too small make of a good one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.simulation.run import resume_simulation
from tests.conftest import quickly

FEDREC = [sys.executable, "-m", "fedrec.cli.main"]
ENDLESS = quickly("federation.rounds=500", "federation.patience=500", "evaluation.methods=[federated]")


def settings(overrides: list[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def started(synthetic: Path, tmp_path: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A run with two worker processes, in its rounds; and those processes."""
    command = [*FEDREC, "run", "fecosr", "--data", str(synthetic), "--out", "run"]
    command += settings([*ENDLESS, "engine.workers=2"])
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    events = tmp_path / "run" / "events.jsonl"
    until = time.monotonic() + 240
    while not (events.exists() and '"round"' in events.read_text()):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.1)
    return process, psutil.Process(process.pid).children(recursive=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the signal that goes with a parent's death is Linux's")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="terminated"),
        pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.slow),
    ],
)
def test_no_worker_outlives_its_run(number: signal.Signals, synthetic: Path, tmp_path: Path) -> None:
    """Told to end, it says so in a line and exits 143; killed, it cannot. Either way nobody goes on computing."""
    process, workers = started(synthetic, tmp_path)
    assert len(workers) >= 2
    os.kill(process.pid, number)
    _, complaint = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert "Traceback" not in complaint
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert "fedrec: terminated" in complaint.splitlines()
    assert resume_simulation(tmp_path / "run").stores


@pytest.mark.slow
def test_a_terminal_without_the_characters_ends_a_good_run_well(synthetic: Path, tmp_path: Path) -> None:
    """ASCII alone: what cannot be shown is shown as a question mark."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    overrides = quickly("federation.rounds=1", "evaluation.methods=[federated, local, popularity]")
    command = [*FEDREC, "run", "fecosr", "--data", str(synthetic), "--out", "run", *settings(overrides)]
    for arguments, code in ((command, 0), ([*FEDREC, "run", "--out", "café", "--set", "seed=é"], 2)):
        result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, env=environment, check=False)
        assert result.returncode == code, result.stderr
        assert b"Traceback" not in result.stderr
        assert (result.stdout + result.stderr).isascii()


@pytest.mark.parametrize("blocks", [1, 4, pytest.param(16, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_is_named_with_the_file(blocks: int, tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk without room: of data, of the run, of its page."""
    rows = [f"u{user},i{(user * 7 + step) % 40},2020-01-{step + 1:02d}" for user in range(40) for step in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["who,what,when", *rows]))
    columns = {"user": "who", "item": "what", "time": "when"}
    run_import("csv", tmp_path / "t.csv", tmp_path / "data", ImportOptions(columns, market="fr"))
    run = " ".join([*FEDREC, "run", "baselines", "--data", "data", "--out", "run", "-q"])
    result = subprocess.run(
        ["bash", "-c", f"ulimit -f {blocks}; {run}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("fedrec: run/")
    assert line.endswith(": File too large")
