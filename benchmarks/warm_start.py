"""Retraining when rows have come: from the untrained model, and from the model of the older rows.

    python benchmarks/warm_start.py DATA_DIR [--seeds 0,1] [--older 0.8]

The older rows are those before the day that --older of all markets' rows lie before. FeCoSR-style is trained on them;
then on all rows twice, once from scratch and once with `--warm-start`. Rows of benchmarks/results/warm_start.csv.
"""

import argparse
import shutil
from pathlib import Path

import polars as pl
import results
from results import append_rows, measured, say_complete
from runs import finish, settings

from fedrec.data.columns import Columns
from fedrec.data.store import MarketStore, open_stores
from fedrec.data.store_writer import write_store

NAME = ("begin", "seed")
BEGINS = ("cold", "warm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--older", type=float, default=0.8)
    options = parser.parse_args()
    done = measured("warm_start", *NAME)
    left = [seed for seed in options.seeds.split(",") if any((begin, seed) not in done for begin in BEGINS)]
    if not left:
        say_complete("warm_start")
        return
    work = results.WORK / "warm_start"
    older = write_older(open_stores(options.data), options.older, work / "older")
    for seed in left:
        measure(options.data, older, seed, work)
    shutil.rmtree(work)


def write_older(stores: list[MarketStore], share: float, folder: Path) -> Path:
    """Write a data folder of the rows before the day that ``share`` of all lie before."""
    days = pl.concat([store.interactions[Columns.TIMESTAMP] for store in stores])
    until = int(days.sort()[int(share * len(days))])
    shutil.rmtree(folder, ignore_errors=True)
    for store in stores:
        rows = store.interactions.filter(pl.col(Columns.TIMESTAMP) < until)
        write_store(
            folder / store.name,
            store.name,
            rows,
            source=str(store.path),
            time_resolution=store.time_resolution,
            families=store.families,
            families_of_users=store.families_of_users,
        )
    return folder


def measure(data: Path, older: Path, seed: str, work: Path) -> None:
    """The run on the older rows, both runs on all, and a row for each of these."""
    words = ["--seed", seed, *settings(["evaluation.methods=[federated, local, popularity]"])]
    finish(work / f"older-{seed}", "run", "fecosr", "--data", older, *words)
    for begin in BEGINS:
        more = ["--warm-start", work / f"older-{seed}"] if begin == "warm" else []
        summary = finish(work / f"{begin}-{seed}", "run", "fecosr", "--data", data, *words, *more)
        federated, local = (summary["mean"][method]["ndcg@10"] for method in ("federated", "local"))
        row = {
            "begin": begin,
            "seed": seed,
            "first_validation": f"{summary['rounds'][0]['validation_before']:.6f}",
            "best_round": summary["best_round"],
            "rounds": len(summary["rounds"]),
            "federated": f"{federated:.6f}",
            "local": f"{local:.6f}",
            "gain": f"{federated - local:.6f}",
        }
        print(row, flush=True)
        append_rows("warm_start", [row], NAME)


if __name__ == "__main__":
    main()
