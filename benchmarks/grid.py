"""The long tables: a recipe on the markets of a data folder, protocol by protocol, loss by loss, seed by seed.

    python benchmarks/grid.py DATA_DIR [--seeds 0,1,2] [--protocols family,temporal] [--lams 0.3,0.0] [--jobs 2]
    python benchmarks/grid.py DATA_DIR --variant methods --lams 0.3 \\
        --set 'evaluation.methods=[federated, local, pooled, popularity, itemknn, ease, fedease]'
    python benchmarks/grid.py DATA_DIR --data retail --protocols temporal

Each run is one `fedrec run`; its figures become rows of benchmarks/results/DATA[_VARIANT].csv (per market and method;
DATA is xmarket unless named), ..._gains.csv (federated minus local) and ..._runs.csv (per run, written last). A run
that already has its rows is skipped, and one that was interrupted is resumed. When all seeds of a protocol are there,
..._intervals.csv gets the differences of the headline methods with intervals over users and seeds. The per-user values
that they need are packed into ..._users.csv until then.
"""

import argparse
import itertools
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import results
from per_user import PerUser, drop, keep, kept
from results import append_rows, measured, say_complete
from runs import finish, settings
from safetensors.numpy import load_file

from fedrec.metrics.significance import bootstrap_over_seeds
from fedrec.recipe import HEADLINES

METRICS = ("ndcg@10", "recall@10", "mrr@10", "ndcg@20", "coverage@10")
RESAMPLES = 2000
NAME = ("protocol", "lam", "seed")
Key = tuple[str, str, str]  # protocol, lam, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="xmarket", help="what the folder holds: names the rows")
    parser.add_argument("--recipe", default="fecosr")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--protocols", default="family,temporal")
    parser.add_argument("--lams", default="0.3,0.0")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--variant")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    table = "_".join(filter(None, [options.data, options.variant]))
    work = results.WORK / table
    seeds = options.seeds.split(",")
    grid = list(itertools.product(options.protocols.split(","), options.lams.split(",")))
    done = measured(f"{table}_runs", *NAME)
    wanted: list[Key] = [(*setting, seed) for setting in grid for seed in seeds if (*setting, seed) not in done]
    if not wanted:
        say_complete(table)
    command = partial(run, options.recipe, options.folder, options.overrides, work)
    with ThreadPoolExecutor(options.jobs) as pool:
        for key, summary in zip(wanted, pool.map(command, wanted), strict=True):
            if len(seeds) > 1:
                keep(table, named(key), per_user(folder_of(work, key)))
            record(table, key, summary)
            shutil.rmtree(folder_of(work, key))
            means = {name: round(metrics["ndcg@10"], 4) for name, metrics in summary["mean"].items()}
            print(key, means, flush=True)
    for protocol, lam in grid:
        if len(seeds) > 1 and (protocol, lam) not in measured(f"{table}_intervals", "protocol", "lam"):
            found = [kept(table, named((protocol, lam, seed))) for seed in seeds]
            values = [one for one in found if one]
            if len(values) < len(seeds):
                print(f"{table}, {protocol}, lam {lam}: intervals over {len(values)} of {len(seeds)} seeds")
            if len(values) > 1:
                record_intervals(table, protocol, lam, values)
                drop(table, {"protocol": protocol, "lam": lam})


def named(key: Key) -> dict[str, str]:
    """The columns that name a run."""
    return dict(zip(NAME, key, strict=True))


def folder_of(work: Path, key: Key) -> Path:
    """Where a run lies until its figures are rows."""
    return work / "-".join(key)


def run(recipe: str, data: Path, overrides: list[str], work: Path, key: Key) -> dict[str, Any]:
    """Summary of one `fedrec run` in a process of its own."""
    protocol, lam, seed = key
    fixed = [f"evaluation.protocol={protocol}", f"loss.lam={lam}"]
    words = ["run", recipe, "--data", data, "--seed", seed, *settings([*fixed, *overrides])]
    return finish(folder_of(work, key), *words)


def record(table: str, key: Key, summary: dict[str, Any]) -> None:
    """Write the run's rows; the row of the run itself comes last and says that all are there."""
    name = named(key)
    rows, gains = [], []
    for market, figures in summary["markets"].items():
        for method, metrics in figures["results"].items():
            values = {metric: f"{metrics[metric]:.6f}" if metric in metrics else "" for metric in METRICS}
            rows.append({**name, "market": market, "method": method, **values})
        for metric, interval in figures["gain"].items():
            if metric in METRICS:
                values = {part: f"{value:.6f}" for part, value in interval.items()}
                gains.append({**name, "market": market, "metric": metric, **values})
    append_rows(table, rows, NAME)
    append_rows(f"{table}_gains", gains, NAME)
    drift = [record["drift"] for record in summary["rounds"] if record["drift"] is not None]
    row = {
        **name,
        "rounds": len(summary["rounds"]),
        "drift": f"{statistics.fmean(drift):.4f}" if drift else "",
        "megabytes_up": f"{summary['bytes']['up'] / 1e6:.2f}",
        "megabytes_down": f"{summary['bytes']['down'] / 1e6:.2f}",
        "seconds": round(summary["seconds"]["total"]),
        "peak_rss_mb": round(summary["peak_rss_mb"]),
    }
    append_rows(f"{table}_runs", [row], NAME)


def record_intervals(table: str, protocol: str, lam: str, seeds: list[PerUser]) -> None:
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
                name = {"protocol": protocol, "lam": lam, "seeds": len(seeds), "market": market}
                rows.append({**name, "method": method, "other": other, **figures})
    append_rows(f"{table}_intervals", rows)


def per_user(run: Path) -> PerUser:
    """NDCG@10 of every method for every test user of a finished run."""
    metric = ".ndcg@10"
    return {
        path.parent.name: {
            name.removesuffix(metric): values for name, values in load_file(path).items() if name.endswith(metric)
        }
        for path in (run / "markets").glob("*/per_user.safetensors")
    }


if __name__ == "__main__":
    main()
