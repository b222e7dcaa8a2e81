"""Popularity and plain EASE at one fixed lambda, no popularity, no recency: rows of benchmarks/results/baselines.csv.

    python benchmarks/baselines.py DATA_DIR

tests/integration/test_reference_baselines.py holds the same figures against the reference, within .004. A protocol that
has its rows is skipped.
"""

import argparse
import tempfile
from pathlib import Path

from results import append_rows, measured, say_complete

from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation

LAMBDAS = {"family": 100, "temporal": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    wanted = [protocol for protocol in LAMBDAS if (protocol,) not in measured("baselines", "protocol")]
    if not wanted:
        say_complete("baselines")
    for protocol in wanted:
        fixed = [f"evaluation.protocol={protocol}", f"ease.lambdas=[{LAMBDAS[protocol]}]"]
        recipe = load_recipe("baselines", [*fixed, "ease.popularity_weights=[0]"])
        with tempfile.TemporaryDirectory() as scratch:
            summary = prepare_simulation(recipe, options.data, Path(scratch) / "run").start()
        append_rows(
            "baselines",
            [
                {"protocol": protocol, "market": market, "method": method, "ndcg@10": f"{metrics['ndcg@10']:.6f}"}
                for market, figures in summary["markets"].items()
                for method, metrics in figures["results"].items()
            ],
        )


if __name__ == "__main__":
    main()
