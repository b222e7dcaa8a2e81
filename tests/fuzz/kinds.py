"""The kinds of cases by name, and how one of them is made and judged."""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.hellos import hello_case
from tests.fuzz.imports import import_case
from tests.fuzz.judge import Case, Failure, judge
from tests.fuzz.overrides import override_case
from tests.fuzz.recipes import recipe_case
from tests.fuzz.runs import run_case as damaged_run_case
from tests.fuzz.stores import store_case


@dataclass(frozen=True)
class Kind:
    """``share``: of every hundred cases of all kinds."""

    make: Callable[[random.Random, Path], Case]
    share: int


KINDS = {
    "recipes": Kind(recipe_case, 24),
    "overrides": Kind(override_case, 20),
    "imports": Kind(import_case, 24),
    "runs": Kind(damaged_run_case, 12),
    "stores": Kind(store_case, 10),
    "hellos": Kind(hello_case, 10),
}


def counts(cases: int) -> dict[str, int]:
    """How many cases each kind has of so many in all; at least one."""
    whole = sum(kind.share for kind in KINDS.values())
    return {name: max(1, round(cases * kind.share / whole)) for name, kind in KINDS.items()}


def run_case(
    kind: str, number: int, seed: int, progress: Callable[[str], None] | None = None
) -> tuple[str, Failure | None]:
    """Make and judge one case: what it was, in words, and the rule it broke. The same numbers make the same case."""
    chance = random.Random(f"{seed} {kind} {number}")  # noqa: S311  nothing secret
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch)
        case = KINDS[kind].make(chance, folder)
        return case.what, judge(case, folder, progress)
