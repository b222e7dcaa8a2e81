"""Large catalogues end to end: memory and time of two synthetic markets, and what sparse EASE costs on real ones.

    python benchmarks/catalogue.py sizes [--items 20000,50000,200000] [--recipes fecosr,ranker]
    python benchmarks/catalogue.py forms XMARKET_DIR [--neighbours 100,300,500]

`sizes` makes the markets below benchmarks/work (so many items in each, about, and a user for every three) and runs a
recipe with two rounds and one epoch of fine-tuning, each in a process of its own: rows of
benchmarks/results/catalogue.csv. `forms` evaluates EASE and federated EASE as matrices and as sparse weights
under `family`: rows of benchmarks/results/sparse_ease.csv. What has its row is skipped.
"""

import argparse
import shutil
from pathlib import Path
from statistics import fmean

import results
from results import append_rows, measured, say_complete
from runs import fedrec, finish, settings

QUICK = ("federation.rounds=2", "evaluation.protocol=temporal")
OF_RECIPE = {"fecosr": ("finetune.epochs=1",), "ranker": ("scores.kind=none",)}
STOCKED = 1.54  # items of the universe for each that one of two markets stocks
METHODS = ("ease", "fedease")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    sizes = commands.add_parser("sizes")
    sizes.add_argument("--items", default="20000,50000,200000")
    sizes.add_argument("--recipes", default="fecosr,ranker")
    sizes.set_defaults(measure=measure_sizes)
    forms = commands.add_parser("forms")
    forms.add_argument("data", type=Path)
    forms.add_argument("--neighbours", default="100,300,500")
    forms.set_defaults(measure=measure_forms)
    options = parser.parse_args()
    options.measure(options)


def measure_sizes(options: argparse.Namespace) -> None:
    """A row for every recipe and size."""
    name, wanted = ("recipe", "items"), []
    done = measured("catalogue", *name)
    for items in options.items.split(","):
        wanted += [(recipe, items) for recipe in options.recipes.split(",") if (recipe, items) not in done]
    if not wanted:
        say_complete("catalogue")
    for recipe, items in wanted:
        data, out = results.WORK / f"catalogue-{items}", results.WORK / f"catalogue-{items}-{recipe}"
        if not data.is_dir():
            words = {"users": int(items) * 2 // 5, "items": round(int(items) * STOCKED), "topics": 200, "length": 12}
            made = [word for key, value in words.items() for word in (f"--{key}", value)]
            fedrec("data", "synth", data, "--markets", "alfa,bravo", "--skew", "0.8", *made)
        summary = finish(out, "run", recipe, "--data", data, *settings([*QUICK, *OF_RECIPE[recipe]]))
        markets, seconds = summary["markets"].values(), summary["seconds"]
        row = {
            "recipe": recipe,
            "items": items,
            "catalogue": max(market["catalogue"] for market in markets),
            "users": max(market["evaluated_users"] for market in markets),
            **{
                f"seconds_{stage}": round(seconds.get(stage, 0))
                for stage in ("federate", "finetune", "evaluate", "total")
            },
            "peak_rss_mb": round(summary["peak_rss_mb"]),
            "federated": f"{summary['mean']['federated']['ndcg@10']:.4f}",
            "ease": f"{summary['mean']['ease']['ndcg@10']:.4f}",
        }
        print(row, flush=True)
        append_rows("catalogue", [row], name)
        shutil.rmtree(out)


def measure_forms(options: argparse.Namespace) -> None:
    """A row for the matrices and one for every number of neighbours."""
    done = measured("sparse_ease", "neighbours")
    wanted = [one for one in ("matrix", *options.neighbours.split(",")) if (one,) not in done]
    if not wanted:
        say_complete("sparse_ease")
    for one in wanted:
        out = results.WORK / f"sparse-ease-{one}"
        form = [] if one == "matrix" else ["ease.dense_items=0", f"ease.neighbours={one}"]
        chosen = ["evaluation.protocol=family", "evaluation.methods=[ease, fedease]", *form]
        summary = finish(out, "run", "baselines", "--data", options.data, *settings(chosen))
        means = {
            method: f"{fmean(market['results'][method]['ndcg@10'] for market in summary['markets'].values()):.4f}"
            for method in METHODS
        }
        row = {"neighbours": one, **means, "seconds": round(summary["seconds"]["total"])}
        print(row, flush=True)
        append_rows("sparse_ease", [row], ("neighbours",))
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
