"""The long tables: a recipe on the markets of a data folder, protocol by protocol, loss by loss, seed by seed.

    python benchmarks/grid.py DATA_DIR [--seeds 0,1,2] [--protocols family,temporal] [--lams 0.3,0.0] [--workers 2]
    python benchmarks/grid.py DATA_DIR --variant methods --lams 0.3 \\
        --set 'evaluation.methods=[federated, local, pooled, popularity, itemknn, ease, fedease]'
    python benchmarks/grid.py DATA_DIR --data retail --protocols temporal

Each run is one `fedrec run`; its figures become rows of benchmarks/results/DATA[_VARIANT].csv (per market and method;
DATA is xmarket unless named), ..._gains.csv (federated minus local) and ..._runs.csv (per run, written last). A run
that already has its rows is skipped, so a table can be finished in another session. When all seeds of a protocol were
run in one call, ..._intervals.csv gets the differences of the headline methods with intervals over users and seeds; the
per-user values they need are never kept. `python benchmarks/tables.py` turns rows into docs/results.md.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from results import append_row, append_rows, read_rows
from safetensors.numpy import load_file

from fedrec.metrics.significance import bootstrap_over_seeds
from fedrec.recipe import HEADLINES

METRICS = ("ndcg@10", "recall@10", "mrr@10", "ndcg@20", "coverage@10")
RESAMPLES = 2000
Key = tuple[str, str, int]  # protocol, lam, seed
PerUser = dict[str, dict[str, np.ndarray]]  # market -> method -> NDCG@10 per test user


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="xmarket", help="what the folder holds: names the rows")
    parser.add_argument("--recipe", default="fecosr")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--protocols", default="family,temporal")
    parser.add_argument("--lams", default="0.3,0.0")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--variant")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    table = "_".join(filter(None, [options.data, options.variant]))
    done = {(row["protocol"], row["lam"], int(row["seed"])) for row in read_rows(f"{table}_runs")}
    wanted: list[Key] = [
        (protocol, lam, int(seed))
        for protocol, lam, seed in itertools.product(
            options.protocols.split(","), options.lams.split(","), options.seeds.split(",")
        )
    ]
    open_runs = [key for key in wanted if key not in done]
    per_user: dict[Key, PerUser] = {}
    command = partial(run, options.recipe, options.folder, options.overrides)
    with ThreadPoolExecutor(options.workers) as pool:
        for key, (summary, users) in zip(open_runs, pool.map(command, open_runs), strict=True):
            record(table, key, summary)
            per_user[key] = users
            means = {name: round(metrics["ndcg@10"], 4) for name, metrics in summary["mean"].items()}
            print(key, means, flush=True)
            same = [other for other in wanted if other[:2] == key[:2]]
            if len(same) > 1 and set(same) <= set(per_user):
                record_intervals(table, key, [per_user[other] for other in same])


def run(recipe: str, data: Path, overrides: list[str], key: Key) -> tuple[dict[str, Any], PerUser]:
    """One `fedrec run` in a process of its own."""
    protocol, lam, seed = key
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        command = [sys.executable, "-m", "fedrec.cli.main", "run", recipe, "--data", str(data), "--out", str(out)]
        command += ["--seed", str(seed), "--set", f"evaluation.protocol={protocol}", "--set", f"loss.lam={lam}"]
        command += [part for override in overrides for part in ("--set", override)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        users = {market: _ndcg(out / "markets" / market / "per_user.safetensors") for market in summary["markets"]}
        return summary, users


def record(table: str, key: Key, summary: dict[str, Any]) -> None:
    """Write the run's rows; the row of the run itself comes last and says that all are there."""
    name = dict(zip(("protocol", "lam", "seed"), key, strict=True))
    rows, gains = [], []
    for market, figures in summary["markets"].items():
        for method, metrics in figures["results"].items():
            values = {metric: f"{metrics[metric]:.6f}" if metric in metrics else "" for metric in METRICS}
            rows.append({**name, "market": market, "method": method, **values})
        for metric, interval in figures["gain"].items():
            if metric in METRICS:
                values = {part: f"{value:.6f}" for part, value in interval.items()}
                gains.append({**name, "market": market, "metric": metric, **values})
    append_rows(table, rows)
    append_rows(f"{table}_gains", gains)
    drift = [record["drift"] for record in summary["rounds"] if record["drift"] is not None]
    append_row(
        f"{table}_runs",
        {
            **name,
            "rounds": len(summary["rounds"]),
            "drift": f"{statistics.fmean(drift):.4f}" if drift else "",
            "megabytes_up": f"{summary['bytes']['up'] / 1e6:.2f}",
            "megabytes_down": f"{summary['bytes']['down'] / 1e6:.2f}",
            "seconds": round(summary["seconds"]["total"]),
            "peak_rss_mb": round(summary["peak_rss_mb"]),
        },
    )


def record_intervals(table: str, key: Key, seeds: list[PerUser]) -> None:
    """Each headline method minus every other, per market, users and seeds resampled together."""
    rows = []
    generator = np.random.default_rng(0)
    for market in sorted(seeds[0]):
        methods = sorted(set.intersection(*(set(users[market]) for users in seeds)))
        for method, other in itertools.product(HEADLINES, methods):
            if method in methods and other != method and not other.endswith("_without_prior"):
                difference = np.stack([users[market][method] - users[market][other] for users in seeds])
                interval = bootstrap_over_seeds(difference, RESAMPLES, generator)
                figures = {part: f"{value:.6f}" for part, value in interval._asdict().items()}
                name = {"protocol": key[0], "lam": key[1], "seeds": len(seeds), "market": market}
                rows.append({**name, "method": method, "other": other, **figures})
    append_rows(f"{table}_intervals", rows)


def _ndcg(path: Path) -> dict[str, np.ndarray]:
    metric = ".ndcg@10"
    return {name.removesuffix(metric): values for name, values in load_file(path).items() if name.endswith(metric)}


if __name__ == "__main__":
    main()
