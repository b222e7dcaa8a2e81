"""Pacer and Runner with and without: federated models under each way of using the gap, seed by seed.

    python benchmarks/pacer.py DATA_DIR --recipe fecosr [--seeds 3] [--variants nothing,loss,share,share-align]
        [--set key.key=value ...]

Runs lie below benchmarks/work and are resumed from there; what is needed of a finished one is packed into
benchmarks/results/pacer_RECIPE_users.csv, so that another session goes on. When all are done, rows of
benchmarks/results/pacer_RECIPE.csv say per market: NDCG@10 of the federated model and its local baseline, the
difference to the same without a pacer and to the local baseline, with intervals over users and seeds, and the mean gap
of the last round. All without the private prior, which hides what the federation does. Nothing is run where every
variant has its rows.
"""

import argparse
import itertools
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import results
from per_user import drop, keep, kept
from results import append_rows, measured, say_complete
from runs import finish, settings
from safetensors.numpy import load_file

from fedrec.metrics.significance import bootstrap_over_seeds

RESAMPLES = 2000
_ALONE = "evaluation.methods=[federated]"  # the local baseline of "nothing" is that of all
VARIANTS = {
    "nothing": ("evaluation.methods=[federated, local]",),
    "loss": (_ALONE, "pacer.scales=loss"),
    "share": (_ALONE, "pacer.scales=share"),
    "align": (_ALONE, "pacer.alignment=0.1"),
    "share-align": (_ALONE, "pacer.scales=share", "pacer.alignment=0.1"),
}
METRIC = "ndcg@10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="fecosr")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", default="nothing,loss,share,share-align")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    table, variants = f"pacer_{options.recipe}", options.variants.split(",")
    if {(name, str(options.seeds)) for name in variants} <= measured(table, "variant", "seeds"):
        say_complete(table)
        return
    runs = list(itertools.product(range(options.seeds), variants))
    for number, (seed, variant) in enumerate(runs, start=1):
        name = {"variant": variant, "seed": str(seed)}
        if not kept(table, name):
            print(f"run {number} of {len(runs)}: {variant}, seed {seed}", flush=True)
            folder = results.WORK / table / f"{variant}-{seed}"
            chosen = settings([*options.overrides, *VARIANTS[variant]])
            summary = finish(folder, "run", options.recipe, "--data", options.data, "--seed", seed, *chosen)
            keep(table, name, values(folder, summary))
            shutil.rmtree(folder)
    found = {run: kept(table, {"variant": run[1], "seed": str(run[0])}) for run in runs}
    append_rows(table, rows(options.recipe, options.seeds, variants, found), ("variant", "market"))
    drop(table, {})


def values(folder: Path, summary: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """What rows are made of: NDCG@10 per user of either model, and the gap of the last round, by market."""
    gaps = [record["transfer_gap"] for record in summary["rounds"] if "transfer_gap" in record]
    result = {}
    for market in summary["markets"]:
        arrays = load_file(folder / "markets" / market / "per_user.safetensors")
        wanted = {method: f"{method}_without_prior.{METRIC}" for method in ("federated", "local")}
        result[market] = {method: arrays[name] for method, name in wanted.items() if name in arrays}
        if gaps:
            result[market]["gap"] = np.array([gaps[-1][market]])
    return result


def rows(
    recipe: str, seeds: int, variants: list[str], runs: dict[tuple[int, str], dict[str, dict[str, np.ndarray]]]
) -> list[dict[str, Any]]:
    """One row a variant and market."""
    generator = np.random.default_rng(0)
    result = []
    for variant in variants:
        for market in sorted(runs[0, variant]):
            federated, bare, local = (
                np.stack([runs[seed, name][market][method] for seed in range(seeds)])
                for name, method in ((variant, "federated"), ("nothing", "federated"), ("nothing", "local"))
            )
            gaps = [float(found["gap"][0]) for seed in range(seeds) if "gap" in (found := runs[seed, variant][market])]
            row = {
                "recipe": recipe,
                "seeds": seeds,
                "variant": variant,
                "market": market,
                "federated": f"{federated.mean():.6f}",
                "local": f"{local.mean():.6f}",
                "last_gap": f"{statistics.fmean(gaps):.4f}" if gaps else "",
            }
            for name, difference in (("gain", federated - local), ("brings", federated - bare)):
                interval = bootstrap_over_seeds(difference, RESAMPLES, generator)
                row |= {f"{name}_{part}": f"{value:.6f}" for part, value in interval._asdict().items()}
            result.append(row)
    return result


if __name__ == "__main__":
    main()
