"""Seconds of a round that are not training, on hosts of their own: our nodes beside Flower's, in one run.

    sudo python benchmarks/deployment.py [--markets 3,7] [--rounds 12]

Network namespaces on one machine, with the commands of the compose files; tiny markets and a tiny model, so that next
to nothing is trained. Flower's own `flower-supernode` stands in for ours in every second run. Rows of
benchmarks/results/deployment.csv; what is there already is skipped.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from results import append_rows, measured, say_complete

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import QUICK, TINY
from tests.deployment.hosts import deployment

MARKETS = ("alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf")
NODES = {"fedrec": None, "flower": str(Path(sys.executable).with_name("flower-supernode"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", default="3,7")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    settings = [*QUICK, f"federation.rounds={options.rounds}", "federation.patience=1000"]
    settings.append("evaluation.methods=[federated, popularity]")
    words = [word for setting in settings for word in ("--set", setting)]
    done = measured("deployment", "markets", "node")
    complete = True
    for count in options.markets.split(","):
        for node, program in NODES.items():
            if (count, node) in done:
                continue
            complete = False
            synthetic = replace(TINY, markets=MARKETS[: int(count)])
            with tempfile.TemporaryDirectory() as scratch, deployment(Path(scratch), synthetic) as made:
                for host in made.markets.values():
                    host.programs |= {"node": program} if program is not None else {}
                made.start()
                result = made.run("fecosr", "measured", *words, seconds=1500)
                if result.returncode:
                    raise SystemExit(result.stdout + result.stderr + made.logs())
                summary = json.loads((made.run_folder("measured") / "summary.json").read_text())
            rounds = [record["seconds"] for record in summary["rounds"]][1:]  # the first starts the markets' processes
            training = [record["train_seconds"] / int(count) for record in summary["rounds"]][1:]
            row = {
                "markets": count,
                "node": node,
                "rounds": len(rounds),
                "median_seconds": f"{statistics.median(rounds):.2f}",
                "min_seconds": f"{min(rounds):.2f}",
                "max_seconds": f"{max(rounds):.2f}",
                "training_seconds": f"{statistics.median(training):.2f}",
                "command_seconds": f"{summary['seconds']['total']:.0f}",
            }
            print(row, flush=True)
            append_rows("deployment", [row])
    if complete:
        say_complete("deployment")


if __name__ == "__main__":
    main()
