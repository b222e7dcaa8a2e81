"""What privacy costs and hides: a recipe at several epsilons, every run attacked.

    python benchmarks/privacy.py RECIPE DATA_DIR [--epsilon inf,16,8,4,2,1] [--seeds 2] [--set key.key=value ...]

Runs `fedrec sweep privacy` below benchmarks/work, which goes on where it was interrupted, and keeps what its
``tradeoff.csv`` says as rows of benchmarks/results/privacy_RECIPE.csv. An epsilon that has its rows for every seed is
left out of the sweep.
"""

import argparse
import csv
import itertools
import shutil
from pathlib import Path

import results
from results import append_rows, measured, say_complete
from runs import fedrec, settings

NAME = ("epsilon", "seed")
LISTED = "privacy.catalogue=occurring"  # the data come without a list of what is sold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data", type=Path)
    parser.add_argument("--epsilon", default="inf,16,8,4,2,1")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    table = f"privacy_{options.recipe}"
    done = measured(table, *NAME)
    wanted = itertools.product(map(epsilon_name, options.epsilon.split(",")), map(str, range(options.seeds)))
    epsilons = list(dict.fromkeys(epsilon for epsilon, seed in wanted if (epsilon, seed) not in done))
    if not epsilons:
        say_complete(table)
        return
    out = results.WORK / table
    words = ["--data", options.data, "--out", out, "--epsilon", ",".join(epsilons), "--seeds", options.seeds]
    fedrec("sweep", "privacy", options.recipe, *words, *settings([LISTED, *options.overrides]), quiet=False)
    with (out / "tradeoff.csv").open(newline="", encoding="utf-8") as stream:
        rows = [{**row, "epsilon": epsilon_name(row["epsilon"])} for row in csv.DictReader(stream)]
    append_rows(table, [row for row in rows if (row["epsilon"], row["seed"]) not in done])
    shutil.rmtree(out)


def epsilon_name(text: str) -> str:
    """An epsilon as it stands in the rows: the shortest way to write it."""
    return f"{float(text):g}"


if __name__ == "__main__":
    main()
