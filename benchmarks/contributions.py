"""What each market gets of the others and gives them: a recipe with all markets, and without each of them.

    python benchmarks/contributions.py RECIPE DATA_DIR [--seeds 1] [--jobs 2] [--set key=value ...]

One `fedrec sweep contributions`. Rows of benchmarks/results/contributions_RECIPE.csv: differences of NDCG@10 with
intervals over users and seeds, per market and for the mean of those compared; `without` is empty for federated minus
local. What has its rows is skipped.
"""

import argparse
import shutil
from pathlib import Path

import results
from results import append_rows, read_rows, say_complete
from runs import fedrec, settings

from fedrec.report.contributions import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", default="1", help="how many")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    table = f"contributions_{options.recipe}"
    if read_rows(table):
        say_complete(table)
        return
    out = results.WORK / table
    words = ["--seeds", options.seeds, "--jobs", options.jobs, *settings(options.overrides)]
    fedrec("sweep", "contributions", options.recipe, "--data", options.data, "--out", out, *words)
    rows = [
        {
            "without": effect.without or "",
            "market": effect.market,
            "seeds": options.seeds,
            **{name: f"{getattr(effect, name):.6f}" for name in ("mean", "low", "high")},
        }
        for effect in read_table(out)
    ]
    append_rows(table, rows)
    shutil.rmtree(out)
    print(*rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
