"""The run folder."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedrec.errors import UserError
from fedrec.files import JsonLines, append_json_line, new_folder, read_json_lines, write_atomic, write_json
from fedrec.recipe import Recipe
from fedrec.runs.folder import Checkpoint, RunFolder, dated
from fedrec.runs.summary import comparable


def test_the_last_two_checkpoints_stay(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", Recipe())
    for number in range(1, 5):
        run.checkpoint(Checkpoint(number, {"shared": {"w": np.full((2, 2), number, np.float32).T}}, {"best_round": 1}))
    folders = sorted((run.path / "checkpoints" / "pretrain").iterdir())
    assert [folder.name for folder in folders] == ["round-000003", "round-000004"]
    assert load_file(folders[1] / "shared.safetensors")["w"].tolist() == [[4.0, 4.0], [4.0, 4.0]]
    assert json.loads((folders[1] / "state.json").read_text())["round"] == 4


def test_an_occupied_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_text("")
    with pytest.raises(UserError, match="not an empty folder"):
        RunFolder.create(tmp_path / "run", Recipe())


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20261130-222036")
    for _ in range(3):
        RunFolder.create(dated("fecosr-0"), Recipe())
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        f"20261130-222036-fecosr-0{number}" for number in ("", "-2", "-3")
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(TypeError):
        write_atomic(path, "no bytes")  # type: ignore[arg-type]
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_failed_folder_vanishes(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_folder(tmp_path / "data") as scratch:  # noqa: PT012
        (scratch / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_json_line(path, {"a": 1})
    with path.open("a") as stream:
        stream.write('{"event": "star')
    assert read_json_lines(path) == [{"a": 1}]
    append_json_line(path, {"b": 2})
    assert read_json_lines(path) == [{"a": 1}, {"b": 2}]


def test_comparable_drops_what_may_differ() -> None:
    summary = {"seed": 1, "engine": "inline", "seconds": {"total": 2.0}, "rounds": [{"round": 1, "train_seconds": 3.0}]}
    assert comparable(summary) == {"seed": 1, "rounds": [{"round": 1}]}


def test_lines_are_read_once_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = JsonLines(path)
    assert lines.read() == []
    append_json_line(path, {"a": "\u2028"})
    with path.open("a") as stream:
        stream.write('{"b": ')
    assert lines.read() == [{"a": "\u2028"}]
    with path.open("a") as stream:
        stream.write('2}\n{"c": 3}\n')
    assert lines.read() == [{"b": 2}, {"c": 3}]
    assert lines.read() == []
