"""The shared ranker beside FeCoSR-style and the baselines: on statistics alone, with another model's scores, its parts.

    python benchmarks/ranker.py XMARKET_DIR [--protocols family,temporal] [--seeds 0,1,2] [--jobs 2]
    python benchmarks/ranker.py XMARKET_DIR --study scores [--seeds 0,1,2]
    python benchmarks/ranker.py XMARKET_DIR --study sums [--seeds 0,1,2]
    python benchmarks/ranker.py XMARKET_DIR --study parts [--seeds 0,1,2]
    python benchmarks/ranker.py XMARKET_DIR --study private [--seeds 0,1,2]

Each run is one `fedrec run`. Rows of benchmarks/results/ranker.csv (of the others, under `family`: ranker_scores.csv,
ranker_sums.csv, ranker_parts.csv, ranker_private.csv): NDCG@10 per variant, market and method, with
the run's seconds and megabytes up.
When all seeds of a protocol are there, ..._intervals.csv gets differences with intervals over users and seeds, per
market, for the mean of markets, and for the mean without IN, whose 156 users make it wide. Values per user are kept in
..._users.csv until then. A run that has its rows is skipped.
"""

import argparse
import itertools
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

NAME = ("protocol", "variant", "seed")
ALONE = "scores.kind=none"
SCORED = "evaluation.methods=[federated, local, popularity, ease, fedease]"
ALL = "evaluation.methods=[federated, local, local_shared_statistics, popularity, itemknn, ease, fedease]"
FEDERATED = "evaluation.methods=[federated]"
LISTED = "privacy.catalogue=occurring"  # the data come without a list of what is sold
PRIVATE = "evaluation.methods=[federated, local, popularity]"
Variants = Mapping[str, tuple[str, ...]]  # recipe, and what is set in it
Method = tuple[str, str]  # variant, method


@dataclass(frozen=True)
class Study:
    """Runs whose rows make one table, and the differences that are told of them."""

    table: str
    variants: Variants
    compared: Sequence[tuple[Method, Method]] = ()
    protocols: str = "family"
    seeds: str = "0,1,2"


STUDIES = {
    "whole": Study(
        "ranker",
        {"ranker": ("ranker", ALL, ALONE), "fecosr": ("fecosr", FEDERATED)},
        (
            (("ranker", "federated"), ("ranker", "local")),
            (("ranker", "federated"), ("ranker", "local_shared_statistics")),
            (("ranker", "federated"), ("fecosr", "federated")),
            (("ranker", "federated"), ("ranker", "fedease")),
            (("ranker", "federated"), ("ranker", "ease")),
            (("ranker", "federated"), ("ranker", "popularity")),
        ),
        protocols="family,temporal",
    ),
    "scores": Study(
        "ranker_scores",
        {
            "scores": ("ranker", SCORED, "scores.kind=fecosr", "scores.pairs=again"),
            "ranker": ("ranker", FEDERATED, ALONE),
            "fecosr": ("fecosr", FEDERATED),
        },
        (
            (("scores", "federated"), ("scores", "local")),
            (("scores", "federated"), ("ranker", "federated")),
            (("scores", "federated"), ("fecosr", "federated")),
            (("scores", "federated"), ("scores", "fedease")),
            (("scores", "federated"), ("scores", "ease")),
            (("scores", "federated"), ("scores", "popularity")),
        ),
    ),
    "sums": Study(
        "ranker_sums",
        {
            "the ranker": ("ranker", FEDERATED, ALONE),
            "exact sums": ("ranker", FEDERATED, ALONE, "algorithm.min_count=1"),
            "masked sums": ("ranker", FEDERATED, ALONE, "masks.enabled=true"),
            "at least three users": ("ranker", FEDERATED, ALONE, "algorithm.min_count=3"),
            "at least five users": ("ranker", FEDERATED, ALONE, "algorithm.min_count=5"),
            "shared weights alone": ("ranker", FEDERATED, ALONE, "algorithm.statistics=own"),
        },
    ),
    "parts": Study(
        "ranker_parts",
        {
            "without EASE": ("ranker", FEDERATED, ALONE, "algorithm.left_out=[ease]"),
            "without cosine and conditional": ("ranker", FEDERATED, ALONE, "algorithm.left_out=[cosine, conditional]"),
            "without order": ("ranker", FEDERATED, ALONE, "algorithm.left_out=[following, next]"),
            "without same day": ("ranker", FEDERATED, ALONE, "algorithm.left_out=[same_day]"),
            "without sales": ("ranker", FEDERATED, ALONE, "algorithm.left_out=[sales]"),
        },
    ),
}
STUDIES["private"] = Study(
    "ranker_private",
    {
        f"epsilon {epsilon}": (
            "ranker",
            PRIVATE,
            ALONE,
            f"privacy.epsilon={epsilon}",
            "privacy.reports=outside",
            LISTED,
        )
        for epsilon in ("8", "2")
    },
    tuple(((f"epsilon {epsilon}", "federated"), (f"epsilon {epsilon}", "local")) for epsilon in ("8", "2")),
)
RESAMPLES = 2000
Key = tuple[str, str, str]  # protocol, variant, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--study", choices=STUDIES, default="whole")
    parser.add_argument("--protocols", help="default: family; of the whole family,temporal")
    parser.add_argument("--seeds", help="default: 0,1,2")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    study = STUDIES[options.study]
    seeds = (options.seeds or study.seeds).split(",")
    protocols = (options.protocols or study.protocols).split(",")
    done = measured(study.table, *NAME)
    wanted = [
        key
        for key in itertools.product(protocols, study.variants, seeds)
        if key not in done and (key[0] == "family" or key[1] != "fecosr")
    ]
    if not wanted:
        say_complete(study.table)
    command = partial(run, study, options.folder, options.overrides)
    with ThreadPoolExecutor(options.jobs) as pool:
        for key, summary in zip(wanted, pool.map(command, wanted), strict=True):
            record(study, key, summary)
    for protocol in protocols if study.compared else []:
        if (protocol,) not in measured(f"{study.table}_intervals", "protocol"):
            record_intervals(study, protocol, seeds)


def folder_of(study: Study, protocol: str, variant: str, seed: str) -> Path:
    """Where a run lies until its figures are rows."""
    return results.WORK / study.table / "-".join((protocol, variant.replace(" ", "-").replace(",", ""), seed))


def run(study: Study, data: Path, overrides: Sequence[str], key: Key) -> dict[str, Any]:
    """Summary of one run."""
    protocol, variant, seed = key
    recipe, *chosen = study.variants[variant]
    words = settings([f"evaluation.protocol={protocol}", *chosen, *overrides])
    return finish(folder_of(study, *key), "run", recipe, "--data", data, "--seed", seed, *words)


def record(study: Study, key: Key, summary: dict[str, Any]) -> None:
    """Write the run's rows, then remove it."""
    name, folder = dict(zip(NAME, key, strict=True)), folder_of(study, *key)
    if study.compared:
        keep(study.table, name, per_user(folder))
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
    append_rows(study.table, rows, NAME)
    shutil.rmtree(folder)
    print(key, {method: round(figures["ndcg@10"], 4) for method, figures in summary["mean"].items()}, flush=True)


def record_intervals(study: Study, protocol: str, seeds: Sequence[str]) -> None:
    """Differences between methods of one run or of two, where all seeds of both are there."""
    pairs = [pair for pair in study.compared if protocol == "family" or pair[1][0] != "fecosr"]
    found: dict[str, list[PerUser]] = {}
    for variant in {variant for pair in pairs for variant, _ in pair}:
        found[variant] = [kept(study.table, {"protocol": protocol, "variant": variant, "seed": seed}) for seed in seeds]
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
        intervals = bootstrap_means_over_seeds(differences, RESAMPLES, generator)
        rest = {market: one for market, one in differences.items() if market != "in"}
        intervals["mean without in"] = bootstrap_means_over_seeds(rest, RESAMPLES, generator)["mean"]
        for market, interval in intervals.items():
            figures = {part: f"{value:.6f}" for part, value in interval._asdict().items()}
            names = {"method": f"{variant}: {method}", "other": f"{other}: {against}"}
            rows.append({"protocol": protocol, "seeds": str(len(seeds)), "market": market, **names, **figures})
    append_rows(f"{study.table}_intervals", rows)
    drop(study.table, {"protocol": protocol})


if __name__ == "__main__":
    main()
