"""Boosted trees (LightGBM, lambdarank) over a ranker's features: what a stronger model than the shared one finds there.

    pip install 'fedrec[boosted]'
    python benchmarks/boosted.py XMARKET_DIR [--protocol family] [--seed 0]

`local`: every market alone, on own features. `pooled`: one model on the lists of all markets in one place, with the
statistics of the others as they leave them (`algorithm.min_count` of the recipe). As the ranker: trees learn to find
everyone's last train item, validation says how many trees are best (over all markets where they are pooled), and as
many are made again with validation users too. Rows of benchmarks/results/boosted.csv: NDCG@10 on the test, read once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from results import append_rows, measured, say_complete

from fedrec.data.splits import Holdout
from fedrec.data.store import open_stores
from fedrec.exchange.statistics import Statistics, sum_statistics
from fedrec.metrics.ranking import ndcg
from fedrec.recipe import Recipe, load_recipe
from fedrec.server.catalogues import Union
from fedrec.training.prepared import PreparedMarket
from fedrec.training.ranker.features import Candidates
from fedrec.training.ranker.holdouts import pseudo_holdout
from fedrec.training.ranker.lists import Lists, Moments, TargetLists
from fedrec.training.ranker.sources import features_of, market_statistics

if TYPE_CHECKING:
    import lightgbm

TREES = (25, 50, 100, 150, 200, 300)
PARAMETERS = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 20,
    "learning_rate": 0.03,
    "num_leaves": 15,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 20,
    "max_bin": 127,
    "num_threads": 1,
    "verbose": -1,
    "deterministic": True,
}
LEAST = {"local": 100, "pooled": 200}  # candidates in a leaf
NAME = ("protocol", "method", "seed")
Part = tuple[TargetLists, TargetLists, TargetLists]  # hidden, validation, test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--protocol", default="family")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wanted = [m for m in LEAST if (options.protocol, m, str(options.seed)) not in measured("boosted", *NAME)]
    if not wanted:
        say_complete("boosted")
        return
    recipe = load_recipe("ranker", [f"evaluation.protocol={options.protocol}"])
    markets = {store.name: PreparedMarket(store, recipe) for store in open_stores(options.data)}
    for method in wanted:
        others = others_of(markets, recipe) if method == "pooled" else dict.fromkeys(markets)
        parts = {name: lists_of(market, others[name]) for name, market in markets.items()}
        groups = [list(markets)] if method == "pooled" else [[name] for name in markets]
        for group in groups:
            found, trees = measure([parts[name] for name in group], LEAST[method], options.seed)
            rows = [
                {
                    **dict(zip(NAME, (options.protocol, method, str(options.seed)), strict=True)),
                    "market": name,
                    "trees": str(trees),
                    "ndcg@10": f"{figure:.6f}",
                }
                for name, figure in zip(group, found, strict=True)
            ]
            append_rows("boosted", rows, (*NAME, "market"))
            print(method, group, trees, [round(figure, 4) for figure in found], flush=True)


def others_of(markets: dict[str, PreparedMarket], recipe: Recipe) -> dict[str, Statistics | None]:
    """What the coordinator would send to each market."""
    union = Union.of({name: market.items for name, market in markets.items()})
    sent = {name: market_statistics(market.train, recipe.algorithm.min_count) for name, market in markets.items()}
    total = sum_statistics([sent[name].placed(union.index[name], len(union.items)) for name in sorted(markets)])
    return {name: total.restricted(union.index[name]).without(sent[name]) for name in markets}


def lists_of(market: PreparedMarket, others: Statistics | None) -> Part:
    """Candidates of the three holdouts of a market."""

    def lists(holdout: Holdout) -> TargetLists:
        candidates = features_of(holdout, others, market.recipe.algorithm, market.recipe.ease).everyone()
        return TargetLists(Lists(candidates, Moments.of(candidates.features)), holdout)

    hidden = pseudo_holdout(market.train, market.recipe.evaluation.holdout == "basket")
    return lists(hidden), lists(market.validation), lists(market.test)


def measure(parts: Sequence[Part], least: int, seed: int) -> tuple[list[float], int]:
    """Test figures of each market, and the number of trees that validation chose."""
    first = fit([hidden for hidden, _, _ in parts], max(TREES), least, seed)
    scores = {
        trees: float(np.mean([figure(first, validation, trees) for _, validation, _ in parts])) for trees in TREES
    }
    best = max(scores, key=lambda trees: scores[trees])
    second = fit([one for hidden, validation, _ in parts for one in (hidden, validation)], best, least, seed)
    return [figure(second, test, best) for _, _, test in parts], best


def fit(lists: Sequence[TargetLists], trees: int, least: int, seed: int) -> "lightgbm.Booster":
    """Trees over the lists that have a target among their candidates."""
    import lightgbm  # of the extra `boosted`; rows that are there need none

    inputs, labels, sizes = [], [], []
    for one in lists:
        candidates = one.lists.candidates
        label = one.is_target.astype(np.int32)
        kept = np.bincount(candidates.rows, label, minlength=len(candidates)) > 0
        inputs.append(table(candidates)[kept[candidates.rows]])
        labels.append(label[kept[candidates.rows]])
        sizes.append(np.diff(candidates.offsets)[kept])
    data = lightgbm.Dataset(np.concatenate(inputs), np.concatenate(labels), group=np.concatenate(sizes))
    return lightgbm.train({**PARAMETERS, "min_data_in_leaf": least, "seed": seed}, data, trees)


def figure(model: "lightgbm.Booster", lists: TargetLists, trees: int) -> float:
    """NDCG@10 of the lists' users."""
    scores = np.asarray(model.predict(table(lists.lists.candidates), num_iteration=trees), np.float32)
    return float(ndcg(lists.ranks(scores), 10, lists.holdout.rows).mean())


def table(candidates: Candidates) -> NDArray[np.float32]:
    """Features of candidates and of their users, [N, D + 3]."""
    return np.concatenate([candidates.features, candidates.users[candidates.rows]], axis=1)


if __name__ == "__main__":
    main()
