"""Pacer and Runner with and without: federated models under each way of using the gap, seed by seed.

    python benchmarks/pacer.py DATA_DIR --recipe fecosr [--seeds 3] [--variants nothing,loss,share,share-align]
        [--set key.key=value ...]

Runs lie below benchmarks/work and are resumed from there. When all are done, rows of
benchmarks/results/pacer_RECIPE.csv say per market: NDCG@10 of the federated model and its local baseline, the
difference to the same without a pacer and to the local baseline, with intervals over users and seeds, and the mean gap
of the last round. All without the private prior, which hides what the federation does. Nothing is run where every
variant has its rows.
"""

import argparse
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import results
from results import append_rows, measured, say_complete
from safetensors.numpy import load_file

from fedrec.metrics.significance import bootstrap_over_seeds
from fedrec.simulation.sweep import Done, Point, sweep

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
    points, out = [Point(name, VARIANTS[name]) for name in variants], results.WORK / table
    done = list(sweep(options.recipe, points, options.seeds, options.overrides, options.data, out, print))
    append_rows(table, rows(options.recipe, options.seeds, done), ("variant", "market"))
    shutil.rmtree(out)


def rows(recipe: str, seeds: int, done: list[Done]) -> list[dict[str, Any]]:
    """One row a variant and market."""
    runs = {(run.point.label, run.seed): run for run in done}
    first = done[0].summary
    generator = np.random.default_rng(0)
    result = []
    for variant in dict.fromkeys(label for label, _ in runs):
        for market in sorted(first["markets"]):
            values = {
                name: np.stack([_values(runs[name, seed], market, "federated") for seed in range(seeds)])
                for name in (variant, "nothing")
            }
            local = np.stack([_values(runs["nothing", seed], market, "local") for seed in range(seeds)])
            gaps = [_last_gap(runs[variant, seed], market) for seed in range(seeds)]
            row = {
                "recipe": recipe,
                "protocol": first["protocol"],
                "seeds": seeds,
                "variant": variant,
                "market": market,
                "federated": f"{values[variant].mean():.6f}",
                "local": f"{local.mean():.6f}",
                "last_gap": "" if None in gaps else f"{statistics.fmean(gaps):.4f}",
            }
            for name, difference in (
                ("gain", values[variant] - local),
                ("brings", values[variant] - values["nothing"]),
            ):
                interval = bootstrap_over_seeds(difference, RESAMPLES, generator)
                row |= {f"{name}_{part}": f"{value:.6f}" for part, value in interval._asdict().items()}
            result.append(row)
    return result


def _values(done: Done, market: str, method: str) -> np.ndarray:
    arrays = load_file(done.run.path / "markets" / market / "per_user.safetensors")
    return arrays[f"{method}_without_prior.{METRIC}"]


def _last_gap(done: Done, market: str) -> Any:
    gaps = [record["transfer_gap"] for record in done.summary["rounds"] if "transfer_gap" in record]
    return gaps[-1].get(market) if gaps else None


if __name__ == "__main__":
    main()
