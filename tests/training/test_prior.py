"""The private item prior against a derivation by loops in float64."""

import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fedrec.baselines.ease import ease_weights
from fedrec.data.sequences import Sequences
from fedrec.data.splits import Split
from fedrec.data.store import open_store
from fedrec.recipe import EaseSettings, PriorSettings, load_recipe
from fedrec.training.prepared import PreparedMarket
from fedrec.training.prior import fit_ease, fit_own_ease, item_views, popularity_views

DAY = 86400
USERS = (0, 5, 17, 33)


def rows(histories: Sequences) -> list[list[tuple[int, int]]]:
    """(item, time) of every user, as plain Python lists."""
    bounds = histories.offsets.tolist()
    pairs = list(zip(histories.items.tolist(), histories.times.tolist(), strict=True))
    return [pairs[start:end] for start, end in itertools.pairwise(bounds)]


def ridge_ease(split: Split, lam: float) -> np.ndarray:
    """EASE column by column: the ridge regression of item j on all other items."""
    matrix = np.zeros((len(split.train), len(split.items)))
    for user, history in enumerate(rows(split.train)):
        for item, _ in history:
            matrix[user, item] = 1.0
    items = matrix.shape[1]
    weights = np.zeros((items, items))
    for column in range(items):
        others = np.delete(np.arange(items), column)
        gram = matrix[:, others].T @ matrix[:, others] + lam * np.eye(items - 1)
        weights[others, column] = np.linalg.solve(gram, matrix[:, others].T @ matrix[:, column])
    return weights


def test_the_six_views_by_loops(synthetic: Path) -> None:
    """With B of EASE, a user's last moment t and age a = t - time of an interaction:

    recent_i = sum_h 2^(-a_h / half-life) B_hi;  plain_i = sum_h B_hi;  log views: log(max(., 0) + 0.005);
    popularity: log(1 + interactions of i);  trend: log(1 + sum over everyone's interactions of i up to t of
    2^(-a / days)), with days and with days / 6.
    """
    market = PreparedMarket(open_store(synthetic / "alfa"), load_recipe("fecosr", ["evaluation.protocol=temporal"]))
    split, holdout, settings = market.split, market.test, PriorSettings(half_life_days=20, trend_days=30)
    weights = ridge_ease(split, 10.0)
    everyone = rows(holdout.histories)
    expected = np.zeros((6, len(USERS), len(split.items)))
    for row, user in enumerate(USERS):
        now = everyone[user][-1][1]
        recent = sum(2 ** (-(now - time) / (20 * DAY)) * weights[item] for item, time in everyone[user])
        plain = sum(weights[item] for item, _ in everyone[user])
        expected[0, row] = recent
        expected[1, row] = np.log(np.maximum(plain, 0) + 0.005)
        expected[2, row] = np.log(np.maximum(recent, 0) + 0.005)
        for item, time in (pair for history in everyone for pair in history):
            expected[3, row, item] += 1
            if time <= now:
                expected[4, row, item] += 2 ** (-(now - time) / (30 * DAY))
                expected[5, row, item] += 2 ** (-(now - time) / (5 * DAY))
    expected[3:] = np.log1p(expected[3:])
    ease = fit_own_ease(split.train.matrix(), split.validation, EaseSettings(lambdas=[10.0], popularity_weights=[0.0]))
    users = np.array(USERS)
    found = np.concatenate(
        [item_views(ease.weights, holdout, settings, users), popularity_views(holdout, settings, users)]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_ease_takes_the_pair_that_validates_best(synthetic: Path) -> None:
    """Every pair of values judged by a loop over validation users; ties to the first."""
    market = PreparedMarket(open_store(synthetic / "alfa"), load_recipe("fecosr", ["evaluation.protocol=temporal"]))
    settings = EaseSettings(lambdas=[1.0, 100.0], popularity_weights=[0.0, 0.05])
    holdout = market.validation
    everyone = rows(holdout.histories)
    popularity = np.zeros(len(market.split.items))
    for item, _ in (pair for history in everyone for pair in history):
        popularity[item] += 1

    def judge(lam: float, share: float) -> float:
        weights, total = ridge_ease(market.split, lam), 0.0
        for history, target in zip(everyone, holdout.targets, strict=True):
            scores = sum(weights[item] for item, _ in history) + share * np.log1p(popularity)
            unseen = [i for i in range(len(scores)) if i not in {item for item, _ in history}]
            rank = sum(scores[i] > scores[target] for i in unseen)
            total += 1 / math.log2(rank + 2) if rank < 10 else 0.0
        return total / len(everyone)

    values = {(lam, share): judge(lam, share) for lam in settings.lambdas for share in settings.popularity_weights}
    best = fit_own_ease(market.train.matrix(), holdout, settings)
    assert values[best.chosen["lam"], best.chosen["popularity_weight"]] >= max(values.values()) - 1e-6


def test_a_lambda_without_an_inverse_is_passed_over(synthetic: Path) -> None:
    """Counts whose rare pairs were held back need not be positive definite; a larger lambda makes them so."""
    market = PreparedMarket(open_store(synthetic / "alfa"), load_recipe("fecosr", ["evaluation.protocol=temporal"]))
    items = len(market.split.items)
    counts = np.full((items, items), 3.0)
    counts[np.diag_indices(items)] = 2.0  # eigenvalue -1
    settings = EaseSettings(lambdas=[0.5, 4.0], popularity_weights=[0.0])
    assert fit_ease(partial(ease_weights, counts), market.validation, settings).chosen["lam"] == 4.0
    with pytest.raises(np.linalg.LinAlgError):
        fit_ease(partial(ease_weights, counts), market.validation, EaseSettings(lambdas=[0.5]))
