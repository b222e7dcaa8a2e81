"""``fedrec ledger``, ``audit``, ``sweep`` at the command line: what is printed, and mistakes in two lines."""

import re
import shutil
from pathlib import Path

import pytest

from fedrec.cli.main import app, exit_code
from tests.conftest import quickly

SMALL = quickly("evaluation.methods=[federated]", "semantics.kind=cooccurrence", "federation.rounds=1")


def call(*arguments: str) -> int:
    return exit_code(lambda: app(list(arguments), standalone_mode=False))


@pytest.fixture(scope="module")
def run(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("commands") / "run"
    options = [part for change in SMALL for part in ("--set", change)]
    assert call("run", "fecosr", "--data", str(synthetic), "--out", str(out), *options) == 0
    return out


def test_the_ledger_is_printed_and_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ledger", str(run)) == 0
    printed = capsys.readouterr().out
    assert "train.pretrain" in printed
    assert "encoder.position.weight" in printed  # only rows of positions that some history reaches have changed
    page = (run / "ledger.html").read_text()
    assert "what left the markets" in page
    assert page.count("<details") == 3


def test_a_ledger_that_is_not_whole_says_so(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that cannot be read, and a market without any."""
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    path = copied / "markets" / "alfa" / "ledger.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line[:20] for line in lines[1:])]) + "\n")
    shutil.rmtree(copied / "markets" / "bravo")
    assert call("ledger", str(copied)) == 0
    printed = capsys.readouterr().out
    assert f"alfa/ledger.jsonl: {len(lines) - 1} lines cannot be read; what they recorded is missing here" in printed
    assert "bravo: no ledger; what left bravo is missing here" in printed


def test_what_was_gathered_is_not_lost_with_the_markets(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run folder without its private part still says what left."""
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    gathered = (copied / "ledger.jsonl").read_bytes()
    shutil.rmtree(copied / "markets")
    assert call("ledger", str(copied)) == 0
    printed = capsys.readouterr().out
    assert "kept as it was gathered" in printed
    assert "train.pretrain" in printed
    assert (copied / "ledger.jsonl").read_bytes() == gathered


def test_an_audit_of_another_recipe_than_the_runs_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "recipe.yaml").write_text("{}")
    assert call("audit", str(copied)) == 2
    assert re.search(r"recipe\.yaml: [a-z_.]+ is .*, it was ", capsys.readouterr().err)


def test_the_audit_prints_attacks_and_controls(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("audit", str(run), "--left-out", "0.4") == 0
    printed = capsys.readouterr().out
    for text in (
        "membership of a user",
        "best sellers",
        "items of a user",
        "Controls",
        "40% of the users were left out",
    ):
        assert text in printed
    assert "never sees what left" in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["audit", "RUN", "--left-out", "1"], "--left-out 1: a share of the users between 0 and 1"),
        (["audit", "NOWHERE"], "not a run folder"),
        (["ledger", "NOWHERE"], "not a run folder"),
        (["forget", "RUN", "--market", "alfa", "--user", "x", "--data", "NEW", "--out", "NEW2"], "nothing to forget"),
        (["sweep", "privacy", "fecosr", "--out", "NEW", "--epsilon", "a,b"], "numbers separated by commas"),
        (["sweep", "privacy", "fecosr", "--out", "NEW", "--epsilon", "-1"], "positive numbers or inf"),
        (["sweep", "privacy", "fecosr", "--out", "RUN", "--epsilon", "1"], "not empty, and no sweep"),
    ],
)
def test_mistakes_end_in_two_lines_and_exit_2(
    arguments: list[str], complaint: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "RUN": str(run),
        "NOWHERE": str(tmp_path / "nowhere"),
        "NEW": str(tmp_path / "a"),
        "NEW2": str(tmp_path / "b"),
    }
    assert call(*(places.get(part, part) for part in arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error
    assert len(error.splitlines()) <= 2
