"""What a person sees who made a mistake: one or two lines on standard error, exit code 2, no traceback."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedrec.cli.main import app, exit_code
from fedrec.strategies.shared_average import SharedAverage
from tests.conftest import quickly

FEDREC = [sys.executable, "-c", "from fedrec.cli.main import main; main()"]

MISTAKES = {
    "unknown option": (["run", "--foo"], "--foo"),
    "unknown command": (["rn"], "rn"),
    "missing argument": (["data", "import", "xmarket-5core"], "SOURCE"),
    "unknown recipe": (["run", "fecsr"], "fecosr"),
    "unknown key": (["run", "--set", "loss.lamb=0"], "did you mean 'lam'"),
    "unknown engine": (["run", "--engine", "rai"], "engine.kind = 'rai'"),
    "seed is a word": (["run", "--seed", "one"], "one"),
    "no data folder": (["run", "--data", "nowhere"], "nowhere: no such data folder"),
    "folder that is none": (["run", "--data", "."], "holds no market store"),
    "no cuda": (["run", "--data", "{data}", "--set", "training.device=cuda"], "no CUDA device"),
    "family without map": (["run", "--data", "{data}", "--set", "evaluation.protocol=family"], "fedrec data families"),
    "no such synthetic market": (["run", "--set", "data.markets=[zulu]"], "zulu not in"),
    "run name with a blank": (["run", "--out", "my run"], "run name 'my run' is refused"),
    "run inside a file": (["run", "--out", "file/run"], "file"),
    "data inside a file": (["data", "synth", "file/data"], "file"),
    "synth without stock": (
        ["data", "synth", "new", "--items", "4", "--topics", "2", "--markets", "a,b,c", "--overlap", "0"],
        "raise --items or --overlap",
    ),
    "describe nothing": (["data", "describe", "nowhere"], "nowhere"),
    "import kind": (["data", "import", "csvv", "a", "b"], "did you mean 'csv'"),
    "synth range": (["data", "synth", "new", "--overlap", "3"], "--overlap 3.0: must lie between 0 and 1"),
    "recipe to print": (["recipes", "fecsr"], "did you mean 'fecosr'"),
    "deploy without a connection": (["run", "--engine", "deploy"], "give both, or neither"),
    "connection that is none": (
        ["run", "--engine", "deploy", "--connection", "nowhere"],
        "no connection.yaml in nowhere",
    ),
    "deployment that is none": (["deploy", "check", "nowhere"], "neither a deployment nor one host's part"),
    "no markets": (["deploy", "init", "new", "--markets", ","], "names no market"),
    "a market twice": (["deploy", "init", "new", "--markets", "a,a"], "named twice"),
    "a market that leads elsewhere": (["deploy", "init", "new", "--markets", "../a"], "market name '../a' is refused"),
    "a host with its port": (["deploy", "init", "new", "--markets", "a", "--host", "x:1"], "without port"),
    "a bundle that is none": (["deploy", "approve", "{data}", "--bundle", "file"], "file: not a bundle"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_end_in_two_lines_and_exit_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    synthetic: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(data=synthetic) for argument in arguments]
    if "CUDA" in said:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA device")
    (tmp_path / "file").write_text("")
    code = exit_code(lambda: app(arguments, standalone_mode=False))
    printed = capsys.readouterr().err
    assert code == 2, printed
    assert said in printed
    assert 1 <= len(printed.splitlines()) <= 2
    assert not list(tmp_path.glob("runs/*"))
    assert not (tmp_path / "new").exists()


def test_so_they_do_in_a_process_of_their_own(tmp_path: Path) -> None:
    result = subprocess.run([*FEDREC, "run", "fecsr"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "fedrec: recipe 'fecsr' is unknown; did you mean 'fecosr'?\n"


def test_piped_tables_are_plain_lines(synthetic: Path) -> None:
    """One line a market, never wrapped, however narrow the terminal claims to be."""
    result = subprocess.run(
        [*FEDREC, "data", "describe", str(synthetic)],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "20", "PATH": ""},
    )
    lines = [line for line in result.stdout.splitlines() if line.startswith("alfa")]
    assert len(lines) == 2  # its own row and its row of the matrix
    assert lines[0].split()[1] == "60"


def test_an_interrupted_run_says_how_it_goes_on(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it does go on."""
    rounds: list[int] = []
    run_round = SharedAverage.aggregate_train

    def once(self: SharedAverage, server_round: int, replies: Any) -> Any:
        rounds.append(server_round)
        if rounds == [1, 2]:
            raise KeyboardInterrupt
        return run_round(self, server_round, replies)

    monkeypatch.setattr(SharedAverage, "aggregate_train", once)
    words = ["run", "fecosr", "--data", str(synthetic), "--out", str(tmp_path / "run"), "-q"]
    words += [part for change in quickly("evaluation.methods=[federated]") for part in ("--set", change)]
    assert exit_code(lambda: app(words, standalone_mode=False)) == 130
    said = capsys.readouterr().err.splitlines()
    assert said == [f"what is done is kept: fedrec run --resume {tmp_path / 'run'}", "fedrec: interrupted"]
    assert exit_code(lambda: app(shlex.split(said[0].partition("kept: fedrec ")[2]), standalone_mode=False)) == 0
    assert (tmp_path / "run" / "summary.json").is_file()
