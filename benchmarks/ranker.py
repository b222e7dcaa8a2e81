"""The shared ranker beside FeCoSR-style and the baselines, and its parts alone.

    python benchmarks/ranker.py XMARKET_DIR [--protocols family,temporal] [--seeds 0,1,2] [--jobs 2]
    python benchmarks/ranker.py XMARKET_DIR --parts [--seeds 0]

Each run is one `fedrec run`. Rows of benchmarks/results/ranker.csv (of the parts, under `family`: ranker_parts.csv):
NDCG@10 per variant, market and method, with the run's seconds and megabytes up. When all seeds of a protocol are there,
ranker_intervals.csv gets differences with intervals over users and seeds, per market and for the mean of markets; under
`family` also to FeCoSR-style. Values per user are kept in ranker_users.csv until then. A run that has its rows is
skipped.
"""

import argparse
import itertools
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import results
from grid import per_user
from per_user import PerUser, drop, keep, kept
from results import append_rows, measured, say_complete
from runs import finish, settings

from fedrec.metrics.significance import bootstrap_means_over_seeds

TABLE, PARTS_TABLE, NAME = "ranker", "ranker_parts", ("protocol", "variant", "seed")
ALL = "evaluation.methods=[federated, local, local_shared_statistics, popularity, itemknn, ease, fedease]"
FEDERATED = "evaluation.methods=[federated]"
WHOLE: Mapping[str, tuple[str, ...]] = {"ranker": ("ranker", ALL), "fecosr": ("fecosr", FEDERATED)}
PARTS: Mapping[str, tuple[str, ...]] = {
    "the ranker": ("ranker", FEDERATED),
    "exact sums": ("ranker", FEDERATED, "algorithm.min_count=1"),
    "at least five users": ("ranker", FEDERATED, "algorithm.min_count=5"),
    "shared weights alone": ("ranker", FEDERATED, "algorithm.statistics=own"),
    "without EASE": ("ranker", FEDERATED, "algorithm.left_out=[ease]"),
    "without cosine and conditional": ("ranker", FEDERATED, "algorithm.left_out=[cosine, conditional]"),
    "without order": ("ranker", FEDERATED, "algorithm.left_out=[following, next]"),
    "without same day": ("ranker", FEDERATED, "algorithm.left_out=[same_day]"),
    "without sales": ("ranker", FEDERATED, "algorithm.left_out=[sales]"),
}
COMPARED = (
    (("ranker", "federated"), ("ranker", "local")),
    (("ranker", "federated"), ("ranker", "local_shared_statistics")),
    (("ranker", "federated"), ("fecosr", "federated")),
    (("ranker", "federated"), ("ranker", "fedease")),
    (("ranker", "federated"), ("ranker", "ease")),
    (("ranker", "federated"), ("ranker", "popularity")),
)
RESAMPLES = 2000
Key = tuple[str, str, str]  # protocol, variant, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--protocols", default="family,temporal")
    parser.add_argument("--parts", action="store_true", help="the ranker without one part, or with another least count")
    parser.add_argument("--seeds", help="default: 0,1,2, of the parts 0")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    seeds = (options.seeds or ("0" if options.parts else "0,1,2")).split(",")
    protocols = ["family"] if options.parts else options.protocols.split(",")
    table, variants = (PARTS_TABLE, PARTS) if options.parts else (TABLE, WHOLE)
    done = measured(table, *NAME)
    wanted = [
        key
        for key in itertools.product(protocols, variants, seeds)
        if key not in done and (key[0] == "family" or key[1] != "fecosr")
    ]
    if not wanted:
        say_complete(table)
    command = partial(run, options.folder, options.overrides)
    with ThreadPoolExecutor(options.jobs) as pool:
        for key, summary in zip(wanted, pool.map(command, wanted), strict=True):
            record(table, key, summary)
    for protocol in [] if options.parts else protocols:
        if (protocol,) not in measured(f"{TABLE}_intervals", "protocol"):
            record_intervals(protocol, seeds)


def folder_of(protocol: str, variant: str, seed: str) -> Path:
    """Where a run lies until its figures are rows."""
    return results.WORK / TABLE / "-".join((protocol, variant.replace(" ", "-").replace(",", ""), seed))


def run(data: Path, overrides: Sequence[str], key: Key) -> dict[str, Any]:
    """Summary of one run."""
    protocol, variant, seed = key
    recipe, *chosen = (WHOLE | PARTS)[variant]
    words = settings([f"evaluation.protocol={protocol}", *chosen, *overrides])
    return finish(folder_of(*key), "run", recipe, "--data", data, "--seed", seed, *words)


def record(table: str, key: Key, summary: dict[str, Any]) -> None:
    """Write the run's rows, then remove it."""
    name, folder = dict(zip(NAME, key, strict=True)), folder_of(*key)
    if table == TABLE:
        keep(TABLE, name, per_user(folder))
    whole = {
        "seconds": str(round(summary["seconds"]["total"])),
        "megabytes_up": f"{summary['bytes']['up'] / 1e6:.2f}",
        "best_round": str(summary["best_round"]),
    }
    rows = [
        {**name, "market": market, "method": method, "ndcg@10": f"{figures['ndcg@10']:.6f}", **whole}
        for market, found in summary["markets"].items()
        for method, figures in found["results"].items()
    ]
    append_rows(table, rows, NAME)
    shutil.rmtree(folder)
    print(key, {method: round(figures["ndcg@10"], 4) for method, figures in summary["mean"].items()}, flush=True)


def record_intervals(protocol: str, seeds: Sequence[str]) -> None:
    """Differences between methods of one run or of two, where all seeds of both are there."""
    pairs = [pair for pair in COMPARED if protocol == "family" or pair[1][0] != "fecosr"]
    found: dict[str, list[PerUser]] = {}
    for variant in {variant for pair in pairs for variant, _ in pair}:
        found[variant] = [kept(TABLE, {"protocol": protocol, "variant": variant, "seed": seed}) for seed in seeds]
        if not all(found[variant]):
            print(f"{protocol}: intervals want {variant} with seeds {', '.join(seeds)}")
            return
    rows = []
    generator = np.random.default_rng(0)
    for (variant, method), (other, against) in pairs:
        differences = {
            market: np.stack(
                [
                    one[market][method] - two[market][against]
                    for one, two in zip(found[variant], found[other], strict=True)
                ]
            )
            for market in sorted(found[variant][0])
        }  # market -> [S, U]
        for market, interval in bootstrap_means_over_seeds(differences, RESAMPLES, generator).items():
            figures = {part: f"{value:.6f}" for part, value in interval._asdict().items()}
            names = {"method": f"{variant}: {method}", "other": f"{other}: {against}"}
            rows.append({"protocol": protocol, "seeds": str(len(seeds)), "market": market, **names, **figures})
    append_rows(f"{TABLE}_intervals", rows)
    drop(TABLE, {"protocol": protocol})


if __name__ == "__main__":
    main()
