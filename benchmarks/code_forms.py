"""Other forms of FedMM-style codes: more levels, more or fewer codes a level, codes of users or of items alone.

    python benchmarks/code_forms.py DATA_DIR [--data xmarket] [--seeds 0,1,2] [--forms "NAME;..."] [--jobs 2]

Each run is one `fedrec run fedmm`: click-through with sampled negatives on DeepFM. Rows of
benchmarks/results/code_forms_DATA.csv: AUC and group AUC per form, seed, market and method, with the run's seconds. A
form that has its rows is skipped.
"""

import argparse
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import results
from results import append_rows, measured, say_complete
from runs import finish, settings

NAME = ("form", "seed")
METHODS = "evaluation.methods=[nocodes, randomcodes, local, federated]"
FORMS = {
    "64 common, 32 own": (),
    "three levels": ("codes.global_levels=[64, 64]",),
    "16 common": ("codes.global_levels=[16]",),
    "256 common": ("codes.global_levels=[256]",),
    "codes of users alone": ("ctr.codes=users",),
    "codes of items alone": ("ctr.codes=items",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="xmarket", help="the name of the table")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--forms", help="names, separated by semicolons")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    options = parser.parse_args()
    table = f"code_forms_{options.data}"
    forms = options.forms.split(";") if options.forms else list(FORMS)
    done = measured(table, *NAME)
    wanted = [key for key in itertools.product(forms, options.seeds.split(",")) if key not in done]
    if not wanted:
        say_complete(table)
    with ThreadPoolExecutor(options.jobs) as pool:
        for key, summary in zip(wanted, pool.map(partial(run, options.folder, table), wanted), strict=True):
            record(table, key, summary)


def folder_of(table: str, key: tuple[str, str]) -> Path:
    """Where a run lies until its figures are rows."""
    form, seed = key
    return results.WORK / table / f"{form.replace(' ', '-').replace(',', '')}-{seed}"


def run(data: Path, table: str, key: tuple[str, str]) -> dict[str, Any]:
    """Summary of one run."""
    form, seed = key
    words = settings([METHODS, *FORMS[form]])
    return finish(folder_of(table, key), "run", "fedmm", "--data", data, "--seed", seed, *words)


def record(table: str, key: tuple[str, str], summary: dict[str, Any]) -> None:
    """Write the run's rows, then remove it."""
    rows = [
        {
            **dict(zip(NAME, key, strict=True)),
            "market": market,
            "method": method,
            **{metric: f"{figures[metric]:.6f}" for metric in ("auc", "gauc")},
            "seconds": str(round(summary["seconds"]["total"])),
        }
        for market, found in summary["markets"].items()
        for method, figures in found["results"].items()
    ]
    append_rows(table, rows, NAME)
    shutil.rmtree(folder_of(table, key))
    print(key, {method: round(figures["auc"], 4) for method, figures in summary["mean"].items()}, flush=True)


if __name__ == "__main__":
    main()
