"""Learned weights where users have several targets, and what the ridge does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fedrec.training.mixing import fit_weights
from tests.training.test_mixing import market


def baskets(seed, scorers=2, users=25, items=12):
    """A market whose users have one to four unseen targets each: (scores, targets [T], seen, rows [T])."""
    generator = np.random.default_rng(seed)
    scores, _, seen = market(seed, [0.0] * scorers, users, items)
    rows, targets = [], []
    for user in range(users):
        unseen = np.flatnonzero(~seen[user])
        found = generator.choice(unseen, size=generator.integers(1, 5), replace=False)
        rows += [user] * len(found)
        targets += found.tolist()
        scores[0, user, found] += 1.5
    return scores, np.array(targets), seen, np.array(rows)


def penalised(weights, scores, targets, seen, rows, ridge):
    """By loops over the users: mean over users of the mean over their targets of -log softmax, plus the ridge.

    The softmax is over what the user has not seen; ridge / 2 |w s|^2 with s the scorers' spread over all unseen cells.
    """
    spread = [float(scorer[~seen].std(dtype=np.float64)) for scorer in scores]
    total = 0.0
    users = sorted(set(rows.tolist()))
    for user in users:
        mixed = sum(w * scorer[user].astype(np.float64) for w, scorer in zip(weights, scores, strict=True))
        partition = np.log(np.exp(mixed[~seen[user]]).sum())
        losses = [partition - mixed[target] for target in targets[rows == user]]
        total += sum(losses) / len(losses)
    return total / len(users) + ridge / 2 * sum((w * s) ** 2 for w, s in zip(weights, spread, strict=True))


@pytest.mark.parametrize("ridge", [0.01, 0.1, 3.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_weights_are_the_optimum_of_the_documented_objective(seed, ridge):
    """SciPy's optimum of the loops in float64. The objective is strongly convex in the scaled weights with constant
    ``ridge``: being within e of the least value puts them within sqrt(2 e / ridge) of the optimum."""
    scores, targets, seen, rows = baskets(seed)
    arguments = (scores, targets, seen, rows, ridge)
    best = minimize(penalised, np.zeros(2), args=arguments, tol=1e-10)
    weights = fit_weights(scores, targets, seen, rows, ridge)
    assert penalised(weights, *arguments) <= best.fun + 1e-5
    np.testing.assert_allclose(weights, best.x, atol=2 * np.sqrt(2e-5 / ridge))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_one_target_each_is_the_plain_case(seed):
    scores, targets, seen = market(seed, [1.0, 0.3], users=20, items=10)
    np.testing.assert_allclose(
        fit_weights(scores, targets, seen, np.arange(20)), fit_weights(scores, targets, seen), rtol=1e-12
    )


def test_all_users_count_alike_however_large_their_baskets():
    """Scorer 0 finds the one target of 20 users, scorer 1 the five targets each of 10 others: 20 votes to 10, though
    50 targets to 20. Counting targets would prefer scorer 1."""
    generator = np.random.default_rng(4)
    scores = generator.normal(size=(2, 30, 40)).astype(np.float32)
    wanted = [[user] for user in range(20)] + [list(range(5)) for _ in range(10)]
    for user, found in enumerate(wanted):
        scores[0 if user < 20 else 1, user, found] += 2
    rows = np.array([user for user, found in enumerate(wanted) for _ in found])
    targets = np.array([target for found in wanted for target in found])
    weights = fit_weights(scores, targets, np.zeros((30, 40), dtype=bool), rows)
    assert weights[0] > 1.2 * weights[1] > 0


def test_a_basket_is_the_mean_of_its_targets():
    """A user with targets a, b, c is worth three users of a third of a vote: a copy for each target."""
    generator = np.random.default_rng(5)
    scores, _, seen = market(5, [0.0, 0.0], users=15, items=12)
    wanted = [generator.choice(np.flatnonzero(~seen[user]), size=3, replace=False) for user in range(15)]
    rows, targets = np.repeat(np.arange(15), 3), np.concatenate(wanted)
    copied = fit_weights(scores[:, rows], targets, seen[rows])
    np.testing.assert_allclose(fit_weights(scores, targets, seen, rows), copied, rtol=1e-3, atol=1e-4)


def test_a_strong_ridge_leaves_the_gradient_at_zero_over_the_ridge():
    """At w = 0 every unseen item is as likely: the objective falls by (mean score of the targets - mean score of the
    unseen), users alike. With ridge r -> infinity w s = that fall of the scaled scorer / r, so w = fall / (s^2 r)."""
    scores, targets, seen, rows = baskets(6, scorers=3)
    expected = []
    for scorer in scores.astype(np.float64):
        falls = [
            scorer[user, targets[rows == user]].mean() - scorer[user, ~seen[user]].mean() for user in range(len(seen))
        ]
        expected.append(np.mean(falls) / scorer[~seen].var() / 1e4)
    weights = fit_weights(scores, targets, seen, rows, ridge=1e4)
    np.testing.assert_allclose(weights, expected, rtol=1e-2, atol=2e-7)


def test_a_stronger_ridge_makes_smaller_weights():
    """Of the norm of the scaled weights, for any convex loss."""
    scores, targets, seen, rows = baskets(7)
    spread = np.array([scorer[~seen].std() for scorer in scores])
    norms = [
        float(np.linalg.norm(fit_weights(scores, targets, seen, rows, ridge) * spread))
        for ridge in (0.01, 0.1, 1.0, 10.0)
    ]
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 2 * norms[-1]
