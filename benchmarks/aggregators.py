"""FeCoSR-style under every aggregator: how the shared model comes out of the markets' updates.

    python benchmarks/aggregators.py XMARKET_DIR [--seed 0] [--jobs 2] [--set key.key=value ...]

One run under `family` for every aggregator that comes with fedrec, with its defaults; Flower's own strategies with
theirs. Rows of benchmarks/results/aggregators.csv: NDCG@10 per market, with and without the private prior, which hides
what the federation does, the round that validation kept, and seconds. A run that has its rows is skipped, one that was
interrupted goes on.
"""

import argparse
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import results
from results import append_rows, measured, say_complete
from runs import finish, settings

METHODS = ("federated_without_prior", "federated", "local_without_prior", "local")
CHOICES = {
    "mean": (),
    "fedavgm": (),
    "fedadam": (),
    "fedyogi": (),
    "fedadagrad": (),
    "feddyn": (),
    "median": (),
    "trimmed_mean": (),
    "krum": (),
    "multi_krum": (),
    "flower: FedAvgM": ("aggregator.strategy=FedAvgM", "aggregator.options={server_momentum: 0.9}"),
    "flower: FedTrimmedAvg": ("aggregator.strategy=FedTrimmedAvg", "aggregator.options={beta: 0.2}"),
    "flower: FedMedian": ("aggregator.strategy=FedMedian",),
    "FedProx": ("training.proximal=0.1",),
    "Ditto": ("finetune.proximal=1",),
}
NAME = ("aggregator", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    done = measured("aggregators", *NAME)
    wanted = [name for name in CHOICES if (name, options.seed) not in done]
    if not wanted:
        say_complete("aggregators")
    with ThreadPoolExecutor(options.jobs) as pool:
        for rows in pool.map(lambda name: measure(name, options.data, options.seed, options.overrides), wanted):
            append_rows("aggregators", rows, NAME)
            print(rows[0], flush=True)


def measure(name: str, data: Path, seed: str, overrides: list[str]) -> list[dict[str, str]]:
    """One run; a row a market."""
    kind = name.partition(":")[0] if name[0].islower() else "mean"
    methods = "federated, local" if name in {"mean", "FedProx", "Ditto"} else "federated"  # whose `local` differs, too
    chosen = [f"aggregator.kind={kind}", "evaluation.protocol=family", f"evaluation.methods=[{methods}]"]
    folder = results.WORK / "aggregators" / f"{name.replace(': ', '-')}-{seed}"
    words = ["run", "fecosr", "--data", data, "--seed", seed, *settings([*chosen, *CHOICES[name], *overrides])]
    summary = finish(folder, *words)
    rows = []
    for market, figures in summary["markets"].items():
        found = figures["results"]
        values = {method: f"{found[method]['ndcg@10']:.6f}" if method in found else "" for method in METHODS}
        seconds = {"kept_round": str(summary["best_round"]), "seconds": str(round(summary["seconds"]["total"]))}
        rows.append({"aggregator": name, "seed": seed, "market": market, **values, **seconds})
    shutil.rmtree(folder)
    return rows


if __name__ == "__main__":
    main()
