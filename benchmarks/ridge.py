"""How strong the mixing weights' ridge should be: two-fold cross-validation over validation users.

    python benchmarks/ridge.py DATA_DIR

Weights of the private prior's six views are learned on one half of the validation users and evaluated on the other,
both ways, several times; test users are not touched. Rows go to benchmarks/results/ridge.csv; a protocol that has its
rows is skipped.
"""

import argparse
from pathlib import Path

import numpy as np
from results import append_rows, measured, say_complete

from fedrec.data.store import open_stores
from fedrec.metrics.ranking import ndcg, target_ranks
from fedrec.recipe import load_recipe
from fedrec.threads import single_threaded
from fedrec.training.mixing import fit_weights
from fedrec.training.prepared import PreparedMarket
from fedrec.training.prior import item_views, popularity_views

RIDGES = (0.001, 0.01, 0.1, 1.0)
LAMBDAS = {"family": 100.0, "temporal": 10.0}
MAX_USERS = 1000
REPETITIONS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    wanted = [protocol for protocol in LAMBDAS if (protocol,) not in measured("ridge", "protocol")]
    if not wanted:
        say_complete("ridge")
    for protocol in wanted:
        fixed = [f"evaluation.protocol={protocol}", f"ease.lambdas=[{LAMBDAS[protocol]}]"]
        recipe = load_recipe("fecosr", [*fixed, "ease.popularity_weights=[0]"])
        with single_threaded():
            found = {store.name: cross_validate(PreparedMarket(store, recipe)) for store in open_stores(options.data)}
        append_rows(
            "ridge",
            [
                {"protocol": protocol, "market": market, "ridge": ridge, "ndcg@10": f"{value:.5f}"}
                for market, values in found.items()
                for ridge, value in values.items()
            ],
        )


def cross_validate(market: PreparedMarket) -> dict[float, float]:
    """Mean NDCG@10 on the half that was not learned from, by ridge."""
    generator = np.random.default_rng(0)
    holdout = market.validation
    users = generator.permutation(len(holdout))[:MAX_USERS]
    settings = market.recipe.prior
    views = np.concatenate(
        [item_views(market.ease.weights, holdout, settings, users), popularity_views(holdout, settings, users)]
    )
    histories = holdout.histories.take(users)
    seen = np.zeros(views.shape[1:], dtype=bool)
    seen[histories.users, histories.items] = True
    targets = holdout.targets[users]
    found: dict[float, list[float]] = {ridge: [] for ridge in RIDGES}
    for _ in range(REPETITIONS):
        halves = np.array_split(generator.permutation(len(users)), 2)
        for learned, evaluated in (halves, halves[::-1]):
            for ridge, values in found.items():
                weights = fit_weights(views[:, learned], targets[learned], seen[learned], ridge=ridge)
                scores = np.tensordot(weights.astype(np.float32), views[:, evaluated], axes=1)
                scores[seen[evaluated]] = -np.inf
                values.append(float(ndcg(target_ranks(scores, targets[evaluated]), 10).mean()))
    return {ridge: float(np.mean(values)) for ridge, values in found.items()}


if __name__ == "__main__":
    main()
