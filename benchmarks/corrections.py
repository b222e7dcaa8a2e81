"""What two corrections change, each alone: which of repeated rows is kept, and which items are ranked.

    python benchmarks/corrections.py XMARKET_DIR [--seeds 0] [--jobs 2]

Four runs of FeCoSR-style under `family` a seed, all with today's code. Repeats: the row that is first in the file, as
before (they are dropped from a copy of the data), or the earliest in time. Catalogue: everything that any row mentions
(`evaluation.catalogue=all`), as before, or what was known before the held-out row. Rows of
benchmarks/results/corrections.csv; a run that has its rows is skipped, one that was interrupted goes on.
"""

import argparse
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import results
from results import append_rows, measured, say_complete
from runs import finish, settings

from fedrec.data.columns import Columns
from fedrec.data.store import MarketStore, open_stores
from fedrec.data.store_writer import copy_store

METHODS = ("federated", "local", "popularity", "itemknn", "ease", "fedease")
REPEATS, CATALOGUES = ("first", "earliest"), ("all", "known")
NAME = ("repeats", "catalogue", "seed")
Key = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    done = measured("corrections", *NAME)
    wanted = list(itertools.product(REPEATS, CATALOGUES, options.seeds.split(",")))
    left = [key for key in wanted if key not in done]
    if not left:
        say_complete("corrections")
        return
    first = results.WORK / "corrections" / "first-in-file"
    if not first.is_dir():
        for store in open_stores(options.data):
            drop_later_rows(store, first / store.name)
    folders = {"first": first, "earliest": options.data}
    with ThreadPoolExecutor(options.jobs) as pool:
        for rows in pool.map(lambda key: measure(folders[key[0]], key), left):
            append_rows("corrections", rows, NAME)
            print(rows[0], flush=True)


def drop_later_rows(store: MarketStore, path: Path) -> None:
    """A copy of a market in which the row of every user and item that stands first in the file is the only one."""
    kept = store.rows.unique([Columns.USER, Columns.ITEM], keep="first", maintain_order=True)
    copy_store(store, path, kept)


def measure(data: Path, key: Key) -> list[dict[str, str]]:
    """One run; a row a market and method."""
    _, catalogue, seed = key
    folder = results.WORK / "corrections" / "-".join(key)
    overrides = ["evaluation.protocol=family", f"evaluation.catalogue={catalogue}"]
    overrides.append(f"evaluation.methods=[{', '.join(METHODS)}]")
    summary = finish(folder, "run", "fecosr", "--data", data, "--seed", seed, *settings(overrides))
    rows = [
        {
            **dict(zip(NAME, key, strict=True)),
            "market": market,
            "users": str(figures["evaluated_users"]),
            "ranked": str(figures["catalogue"]),
            "outside": f"{figures['outside']:.6f}",
            "method": method,
            "ndcg@10": f"{metrics['ndcg@10']:.6f}",
        }
        for market, figures in summary["markets"].items()
        for method, metrics in figures["results"].items()
    ]
    shutil.rmtree(folder)
    return rows


if __name__ == "__main__":
    main()
