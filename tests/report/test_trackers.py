"""Runs in other tools, read back by those tools themselves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedrec.cli.main import app, exit_code
from fedrec.errors import UserError
from fedrec.files import append_json_line
from fedrec.report.following import JsonView, follow
from fedrec.report.trackers import FigureTracker, Log, make_trackers
from tests.conftest import QUICK

WORDS = [word for setting in [*QUICK, "evaluation.methods=[federated, popularity]"] for word in ("--set", setting)]


def here(*words: str) -> None:
    assert exit_code(lambda: app(list(words), standalone_mode=False)) == 0


def fedrec(*words: str, cwd: Path, **environment: str) -> str:
    """In a process of its own: trackers leave threads behind."""
    command = [sys.executable, "-m", "fedrec.cli.main", *words]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def summary(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return read


def validated(run: Path) -> list[float]:
    return [record["validation_before"] for record in summary(run)["rounds"]]


def test_tensorboard(synthetic: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    here("run", "fecosr", "--data", str(synthetic), "--out", str(tmp_path / "run"), "--track", "tensorboard", *WORDS)
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    validation = read.Scalars("pretrain/validation_before")
    assert [one.step for one in validation] == [1, 2, 3]
    assert [one.value for one in validation] == pytest.approx(validated(tmp_path / "run"))
    (test,) = read.Scalars("mean/federated/ndcg_at_10")
    assert test.value == pytest.approx(summary(tmp_path / "run")["mean"]["federated"]["ndcg@10"])


class _Counting(FigureTracker):
    @contextmanager
    def _open(self) -> Iterator[Log]:
        yield lambda _measures, step: steps.append(step)


steps: list[int] = []
ROUND = {"event": "round", "stage": "pretrain", "rejected": []}


def test_a_run_that_goes_on_counts_on(tmp_path: Path) -> None:
    steps.clear()
    for _ in range(2):
        append_json_line(tmp_path / "events.jsonl", ROUND)
    tracker = _Counting(tmp_path, {})
    with tracker.listening():
        tracker.event(ROUND)
    assert steps == [3]


def test_a_listener_that_fails_silences_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []

    def broken(_text: str) -> None:
        raise BrokenPipeError("nobody reads")

    with follow(tmp_path / "events.jsonl", [JsonView(broken), JsonView(heard.append)]):
        for _ in range(2):
            append_json_line(tmp_path / "events.jsonl", ROUND)
    assert [json.loads(text) for text in heard] == [ROUND, ROUND]
    assert capsys.readouterr().err.count("JsonView hears no more: nobody reads") == 1


def test_mlflow(synthetic: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="tracker not installed: pip install mlflow-skinny")
    store = (tmp_path / "mlruns").as_uri()
    words = ["run", "fecosr", "--data", str(synthetic), "--out", "run", "--track", "mlflow", *WORDS]
    fedrec(*words, cwd=tmp_path, MLFLOW_TRACKING_URI=store, MLFLOW_ALLOW_FILE_STORE="true")
    metrics = {
        path.relative_to(path.parents[2]).as_posix() if path.parent.name != "metrics" else path.name: path.read_text()
        for path in (tmp_path / "mlruns").rglob("metrics/**/*")
        if path.is_file()
    }
    assert mlflow.__version__
    (test,) = (text for name, text in metrics.items() if name.endswith("mean/federated/ndcg_at_10"))
    assert float(test.split()[1]) == pytest.approx(summary(tmp_path / "run")["mean"]["federated"]["ndcg@10"])


def test_wandb(synthetic: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="tracker not installed: pip install wandb")
    words = ["run", "fecosr", "--data", str(synthetic), "--out", "run", "--track", "wandb", *WORDS]
    fedrec(*words, cwd=tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


LISTEN = """
import sys
from pathlib import Path
from fedrec.files import append_json_line
from fedrec.report.trackers import make_trackers

# The second start has the recipe as the first one resolved it.
resolved = {"semantics.kind": "hashing" if Path("run/events.jsonl").is_file() else "auto"}
(tracker,) = make_trackers(sys.argv[1], Path("run"), resolved)
with tracker.listening():
    event = {"event": "round", "stage": "pretrain", "rejected": []}
    tracker.event(event)
    append_json_line(Path("run/events.jsonl"), event)
"""


def listen_twice(tracker: str, folder: Path, **environment: str) -> None:
    """One round, and after an interruption another."""
    (folder / "run").mkdir()
    for _ in range(2):
        command = [sys.executable, "-c", LISTEN, tracker]
        subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=True)


def test_a_run_that_goes_on_is_the_same_run_in_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="tracker not installed: pip install mlflow-skinny")
    store = {"MLFLOW_ALLOW_FILE_STORE": "true"}
    listen_twice("mlflow", tmp_path, MLFLOW_TRACKING_URI=(tmp_path / "mlruns").as_uri(), **store)
    (rejected,) = (tmp_path / "mlruns").rglob("metrics/pretrain/rejected")
    assert [line.split()[2] for line in rejected.read_text().splitlines()] == ["1", "2"]  # time, value, step
    (tmp_path / "run" / "events.jsonl").unlink()
    command = [sys.executable, "-c", LISTEN, "mlflow"]
    elsewhere = {**os.environ, **store, "MLFLOW_TRACKING_URI": (tmp_path / "elsewhere").as_uri()}
    subprocess.run(command, cwd=tmp_path, env=elsewhere, capture_output=True, check=True)
    assert list((tmp_path / "elsewhere").rglob("metrics/pretrain/rejected"))  # where it is unknown it begins


def test_a_run_that_goes_on_is_the_same_run_in_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="tracker not installed: pip install wandb")
    listen_twice("wandb", tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert len({path.name for path in files}) == 1  # its identity there


def test_what_is_no_tracker(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        make_trackers("tensorbord", tmp_path, {})
    assert make_trackers(None, tmp_path, {}) == []


def test_lines_of_json(synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line an event, as it stands in the run folder; the last says where the run lies."""
    run = tmp_path / "run"
    here("run", "fecosr", "--data", str(synthetic), "--out", str(run), "--log", "json", *WORDS)
    *events, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events == [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert last == {
        "event": "written",
        "folder": str(run),
        "report": str(run / "report.html"),
        "mean": summary(run)["mean"],
    }


def test_quiet(synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here("run", "baselines", "--data", str(synthetic), "--out", str(tmp_path / "run"), "-q")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "run" / "report.html").is_file()
