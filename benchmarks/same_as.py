"""Whether today's code gives the figures and shared models of an earlier commit, recipe by recipe.

    python benchmarks/same_as.py COMMIT [--recipes fecosr,acmr] [--set KEY=VALUE]

Runs every recipe that both trees ship on small synthetic markets, in turn on this machine, and compares summaries
(without durations) and the bytes of the shared models. Exit code 1 where one differs. Keys of summaries that only one
of them has are named. Noise of private recipes comes from secrets that every run draws anew, so these are not for this
script.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedrec.recipe import recipe_names
from fedrec.runs.summary import comparable

ROOT = Path(__file__).parents[1]
QUICK = ("federation.rounds=3", "finetune.epochs=2", "evaluation.resamples=50", "codes.rounds=3", "ctr.epochs=2")
FITS = {"acmr": ("evaluation.protocol=temporal",)}  # small catalogues have too few strangers for its own


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--recipes", default=",".join(recipe_names()))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        earlier, data = Path(scratch) / "earlier", Path(scratch) / "data"
        git("worktree", "add", "--detach", str(earlier), options.commit)
        try:
            fedrec(ROOT, "data", "synth", str(data), "--users", "120", "--items", "150")
            shipped = {path.stem for path in earlier.glob("**/recipes/*.yaml")}
            differing = [
                name
                for name in options.recipes.split(",")
                if name in shipped
                if not same(name, earlier, data, Path(scratch), options.overrides)
            ]
        finally:
            git("worktree", "remove", "--force", str(earlier))
    return 1 if differing else 0


def same(recipe: str, earlier: Path, data: Path, scratch: Path, overrides: list[str]) -> bool:
    """Run one recipe with both trees and say what differs."""
    words = [word for one in (*QUICK, *FITS.get(recipe, ()), *overrides) for word in ("--set", one)]
    found = []
    for name, tree in (("then", earlier), ("now", ROOT)):
        out = scratch / name / recipe  # the run's name is part of what it is made of
        fedrec(tree, "run", recipe, "--data", str(data), "--out", str(out), "-q", *words)
        found.append(out)
    then, now = (comparable(json.loads((out / "summary.json").read_text(encoding="utf-8"))) for out in found)
    differing = [key for key in sorted(then.keys() & now.keys()) if not agree(then[key], now[key])]
    models = [
        {path.relative_to(out): path.read_bytes() for path in out.glob("shared/**/*.safetensors")} for out in found
    ]
    if models[0] != models[1]:
        differing.append("shared models")
    verdict = f"other {', '.join(differing)}" if differing else "the same"
    print(f"{recipe}: {verdict} ({len(models[1])} files of arrays)")
    for words, keys in (("then", alone(then, now)), ("now", alone(now, then))):
        print(f"  {words} alone: {', '.join(sorted(keys)) or 'nothing'}", flush=True)
    return not differing


def alone(one: Any, other: Any, within: str = "") -> set[str]:
    """Dotted keys of ``one`` that ``other`` lacks; of markets and of lists one stands for all."""
    if isinstance(one, list) and isinstance(other, list):
        return set().union(*(alone(*pair, within) for pair in zip(one, other, strict=False)))
    if not isinstance(one, dict) or not isinstance(other, dict):
        return set()
    found = {f"{within}{key}" for key in one.keys() - other.keys()}
    for key in one.keys() & other.keys():
        found |= alone(one[key], other[key], f"{within}{'*' if within == 'markets.' else key}.")
    return found


def agree(then: Any, now: Any) -> bool:
    """Equal, but for keys of mappings that only one of them has."""
    if isinstance(then, dict) and isinstance(now, dict):
        return all(agree(then[key], now[key]) for key in then.keys() & now.keys())
    return bool(then == now)


def fedrec(tree: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run([sys.executable, "-m", "fedrec.cli.main", *words], cwd=tree, env=environment, check=True)


def git(*words: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
