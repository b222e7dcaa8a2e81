"""Popularity and plain EASE at one fixed lambda, no popularity, no recency: rows of benchmarks/results/floors.csv.

    python benchmarks/floors.py DATA_DIR

tests/integration/test_reference_floors.py holds the same figures against the reference, within .004.
"""

import sys
import tempfile
from pathlib import Path

from results import append_row

from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation

LAMBDAS = {"family": 100, "temporal": 10}


def main() -> None:
    for protocol, lam in LAMBDAS.items():
        fixed = [f"evaluation.protocol={protocol}", f"ease.lambdas=[{lam}]", "ease.popularity_weights=[0]"]
        with tempfile.TemporaryDirectory() as scratch:
            summary = prepare_simulation(load_recipe("floors", fixed), Path(sys.argv[1]), Path(scratch) / "run").start()
        for market, figures in summary["markets"].items():
            for method, metrics in figures["results"].items():
                value = f"{metrics['ndcg@10']:.6f}"
                append_row("floors", {"protocol": protocol, "market": market, "method": method, "ndcg@10": value})


if __name__ == "__main__":
    main()
