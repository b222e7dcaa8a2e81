"""Ours beside others on the same histories, one thread each, in one run: an epoch of a sequential model, a round.

    python benchmarks/peers.py [DATA_DIR] [--market fr] [--markets 100] [--repetitions 3]

An epoch: RecTools' and RecBole's SASRec and our sequential model, of equal sizes and full cross-entropy, on one market
of DATA_DIR (default: a synthetic one). A round: every one of ``--markets`` tiny synthetic markets trains an epoch;
plain Flower on its Ray engine and pfl-research train a plain SASRec, ours the FeCoSR-style model with its validation,
ledger and checkpoints. Each peer has an environment of its own below benchmarks/work/peers (``--environments``), of
what benchmarks/peers/requirements.json lists; to make them takes minutes and two gigabytes once. Commands alternate;
the first epoch or round of each is not counted. Prints a table and, with DATA_DIR, writes rows of
benchmarks/results/peers.csv, and nothing is measured where they are there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import WORK, append_rows, measured, say_complete

from fedrec.data.store import open_stores
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.recipe import load_recipe
from fedrec.training.prepared import PreparedMarket

HERE = Path(__file__).parent / "peers"
OURS = "fedrec"
EPOCHS, ROUNDS = 3, 4
TINY = {"dimension": 16}
TASKS = {  # what is done: by whom, with which script
    "epoch": {OURS: "fedrec_epoch", "rectools": "rectools_epoch", "recbole": "recbole_epoch"},
    "round": {
        "fedrec, inline": "fedrec_rounds",
        "fedrec, ray": "fedrec_rounds",
        "flower": "flower_rounds",
        "pfl": "pfl_rounds",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--market", default="fr")
    parser.add_argument("--markets", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--environments", type=Path, default=WORK / "peers")
    options = parser.parse_args()
    if options.data is not None and {(task,) for task in TASKS} <= measured("peers", "task"):
        say_complete("peers")
        return
    pythons = {name: environment(options.environments / name, packages) for name, packages in requirements().items()}
    with tempfile.TemporaryDirectory() as scratch:
        large, tiny = Path(scratch) / "large", Path(scratch) / "tiny"
        names = tuple(f"m{index:04d}" for index in range(options.markets))
        write_synthetic_markets(tiny, SynthSettings(names, 20, 60, 6, 8.0, 0.9, 0.2, 1.0, 0))
        market = options.market
        if options.data is None:
            market = "alfa"
            write_synthetic_markets(large, SynthSettings((market,), 3000, 3000, 40, 10.0))
        folder = (options.data or large) / market
        asked = {"epoch": (folder, [market], EPOCHS, {}), "round": (tiny, list(names), ROUNDS, TINY)}
        for task, (data, markets, count, sizes) in asked.items():
            rows = compare(task, data, markets, count, sizes, pythons, options.repetitions)
            if options.data is not None:
                append_rows("peers", rows)


def requirements() -> dict[str, list[str]]:
    """What each peer's environment holds beside torch."""
    found: dict[str, list[str]] = json.loads((HERE / "requirements.json").read_text())
    return found


def environment(folder: Path, packages: list[str]) -> Path:
    """The Python of an environment with these packages, made where it is not there."""
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        import torch

        own = torch.__version__.partition("+")[0]
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"torch=={own}"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"torch=={own}", *packages], check=True)
        made.touch()
    return python


def compare(
    task: str,
    data: Path,
    markets: list[str],
    count: int,
    sizes: dict[str, Any],
    pythons: dict[str, Path],
    repetitions: int,
) -> list[dict[str, Any]]:
    """Run everybody so many times in turn; one row each."""
    seconds: dict[str, list[float]] = {name: [] for name in TASKS[task]}
    versions: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        histories = Path(scratch) / "histories.json"
        histories.write_text(json.dumps(exported(data, markets, task)))
        for _ in range(repetitions):
            for name, script in TASKS[task].items():
                peer, _, engine = name.partition(", ")
                ours = peer == OURS
                given = {**sizes, "engine": engine} if engine else sizes
                words = [script, data if ours else histories, count, json.dumps(given)]
                found = answer(Path(sys.executable) if ours else pythons[peer], *map(str, words))
                seconds[name] += found["seconds"][1:]
                versions[name] = found["versions"]
    ours = statistics.median(next(iter(seconds.values())))
    rows = []
    for name, values in seconds.items():
        middle = statistics.median(values)
        rows.append(
            {
                "task": task,
                "who": name,
                "seconds": f"{middle:.3f}",
                "lowest": f"{min(values):.3f}",
                "highest": f"{max(values):.3f}",
                "times_ours": f"{middle / ours:.2f}",
                "versions": " ".join(f"{package} {version}" for package, version in versions[name].items()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def exported(data: Path, markets: list[str], task: str) -> dict[str, list[list[int]]]:
    """Every market's train histories, items numbered from 1 over all markets."""
    numbers: dict[str, int] = {}
    result = {}
    recipe = load_recipe("fecosr", ["semantics.kind=hashing", "evaluation.protocol=temporal"])
    for store in open_stores(data.parent if task == "epoch" else data, markets):
        market = PreparedMarket(store, recipe)
        places = [numbers.setdefault(item, len(numbers) + 1) for item in market.items]
        train = market.train
        histories = [train.items[start:end] for start, end in zip(train.offsets, train.offsets[1:], strict=False)]
        result[store.name] = [[places[item] for item in history] for history in histories if len(history) > 1]
    return result


def answer(python: Path, script: str, *words: str) -> dict[str, Any]:
    """What a script said in its last line."""
    command = [python, HERE / f"{script}.py", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{script}: exit {done.returncode}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
