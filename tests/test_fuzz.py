"""Whatever users and markets hand in ends well, or in at most three short plain lines (see ``tests/fuzz``)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.judge import BrokenRuleError, Case, judge
from tests.fuzz.kinds import KINDS, run_case

FEW = {"recipes": 30, "overrides": 40, "imports": 40, "runs": 10, "stores": 25, "hellos": 30}
ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_of_every_kind(kind: str) -> None:
    broken = []
    for number in range(FEW[kind]):
        what, failure = run_case(kind, number, seed=0)
        if failure is not None:
            broken.append(f"{kind} {number}: {failure.rule}; {failure.where}; {what!a}; {failure.text[:200]!a}")
    assert not broken, "\n".join(broken)


@pytest.mark.slow
def test_a_thousand() -> None:
    """In processes of their own, so that one that dies or hangs is told, too."""
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "1000", "--seed", "0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]


def test_a_case_is_made_again_by_its_numbers(tmp_path: Path) -> None:
    for kind in ("recipes", "imports", "stores"):
        (first, one), (second, other) = (run_case(kind, 3, seed=1) for _ in range(2))
        assert first == second
        assert (one is None) == (other is None)


def raising(error: BaseException) -> object:
    raise error


BREAKS = {
    "a traceback": (Case("", [lambda: raising(KeyError("x"))]), "traceback KeyError"),
    "a printed traceback": (Case("", [lambda: print("Traceback (most recent call last)", file=sys.stderr)]),
    "traceback printed"),
    "an exit code": (Case("", [lambda: 3]), "exit 3 of step 1"),
    "a second step": (Case("", [lambda: 0, lambda: 2], ({0, 2}, {0})), "exit 2 of step 2"),
    "nothing said": (Case("", [lambda: 2]), "silent"),
    "four lines": (Case("", [lambda: print("a\nb\nc\nd", file=sys.stderr)]), "over 3 lines"),
    "a long line": (Case("", [lambda: print("x" * 601, file=sys.stderr)]), "long line"),
    "an escape": (Case("", [lambda: print("\x1b[31m")]), "control character"),
    "a text from right to left": (Case("", [lambda: print("\u202e", file=sys.stderr)]), "control character"),
    "a row": (Case("", [lambda: print("u-17 bought it")], marker="u-17"), "rows of data"),
    "a rule of its own": (Case("", [lambda: raising(BrokenRuleError("x"))]), "rule"),
    "too much memory": (Case("", [lambda: bytearray(1 << 40)]), "traceback MemoryError"),
}  # fmt: skip


@pytest.mark.parametrize(("case", "rule"), BREAKS.values(), ids=BREAKS)
def test_the_judge_sees(case: Case, rule: str, tmp_path: Path) -> None:
    failure = judge(case, tmp_path)
    assert failure is not None
    assert failure.rule == rule


def test_the_judge_sees_what_is_left_behind_and_what_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def left() -> int:
        Path("new").mkdir()
        print("refused", file=sys.stderr)
        return 2

    failure = judge(Case("", [left], tidy=True), tmp_path)
    assert failure is not None
    assert failure.rule == "leftover"

    def hangs() -> None:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.judge.CASE_SECONDS", 0.2)
    failure = judge(Case("", [hangs]), tmp_path)
    assert failure is not None
    assert failure.rule == "hang"


def test_what_is_in_order_breaks_no_rule(tmp_path: Path) -> None:
    assert judge(Case("", [lambda: print("1 market"), lambda: 0], marker="u-17", tidy=True), tmp_path) is None
