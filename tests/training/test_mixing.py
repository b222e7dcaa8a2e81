"""Learned weights of scorers."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from fedrec.training.mixing import fit_weights

USERS, ITEMS = 60, 30


def market(seed, strengths, users=USERS, items=ITEMS):
    """Scorers of Gaussian noise, scorer k lifting the target by strengths[k]; a few seen items, never the target."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, items, users)
    scores = generator.normal(size=(len(strengths), users, items)).astype(np.float32)
    rows = np.arange(users)
    for scorer, strength in zip(scores, strengths, strict=True):
        scorer[rows, targets] += strength
    seen = generator.random((users, items)) < 0.15
    seen[rows, targets] = False
    return scores, targets, seen


def mean_ndcg(mixed, targets, seen):
    """NDCG@10 by loops over the items that may be ranked, ties at half."""
    total = 0.0
    for row, target, excluded in zip(mixed.tolist(), targets.tolist(), seen.tolist(), strict=True):
        others = [score for i, score in enumerate(row) if i != target and not excluded[i]]
        rank = sum(1.0 for score in others if score > row[target])
        rank += sum(0.5 for score in others if score == row[target])
        total += 1 / math.log2(rank + 2) if rank < 10 else 0.0
    return total / len(targets)


def mix(weights, scores):
    return np.einsum("k,kui->ui", weights, scores.astype(np.float64))


def negative_log_likelihood(weights, scores, targets, seen):
    """-log softmax of the target among the items that may be ranked, mean over users."""
    mixed = np.where(seen, -np.inf, mix(weights, scores))
    top = mixed.max(axis=1)
    partition = top + np.log(np.exp(mixed - top[:, None]).sum(axis=1))
    return float(np.mean(partition - mixed[np.arange(len(targets)), targets]))


@pytest.mark.parametrize("useful", [0, 1, 3])
def test_recovers_the_useful_scorer_among_noise(useful):
    """Log-likelihood ratio of a target lifted by s in unit noise is s times its score: noise scorers deserve zero."""
    strengths = [0.0, 0.0, 0.0, 0.0]
    strengths[useful] = 3.0
    scores, targets, seen = market(useful, strengths, users=120)
    weights = fit_weights(scores, targets, seen)
    assert weights.shape == (4,)
    assert weights[useful] > 0
    assert weights[useful] > 4 * np.abs(np.delete(weights, useful)).max()


@pytest.mark.parametrize("seed", range(8))
def test_never_worse_on_its_own_users_than_the_best_single_scorer(seed):
    """The weights are chosen on these users and a single scorer is one of the choices."""
    strengths = np.random.default_rng(seed).uniform(0, 2, 4)
    scores, targets, seen = market(seed, strengths)
    weights = fit_weights(scores, targets, seen)
    best = max(mean_ndcg(scorer, targets, seen) for scorer in scores)
    assert mean_ndcg(mix(weights, scores), targets, seen) >= best - 0.01


def test_two_complementary_scorers_beat_either():
    """Each scorer knows half of the users; mixed, all are served."""
    scores, targets, seen = market(20, [0.0, 0.0])
    rows = np.arange(USERS)
    scores[0, rows[::2], targets[::2]] += 6
    scores[1, rows[1::2], targets[1::2]] += 6
    weights = fit_weights(scores, targets, seen)
    best = max(mean_ndcg(scorer, targets, seen) for scorer in scores)
    assert mean_ndcg(mix(weights, scores), targets, seen) > best + 0.1


def test_constant_scorers_get_finite_weights_and_do_no_harm():
    """A constant moves no softmax and no rank; a user-wise constant neither."""
    scores, targets, seen = market(30, [2.0, 0.0, 0.0, 0.0])
    scores[1] = 0.0
    scores[2] = 7.5
    scores[3] = np.arange(USERS, dtype=np.float32)[:, None]
    weights = fit_weights(scores, targets, seen)
    assert np.all(np.isfinite(weights))
    assert mean_ndcg(mix(weights, scores), targets, seen) >= mean_ndcg(scores[0], targets, seen) - 0.01


@pytest.mark.parametrize("constant", [0.0, 7.5, -5.3, 100.0])
def test_a_constant_beside_a_useful_scorer_is_harmless_in_single_precision(constant):
    """Scores are mixed in float32. A constant view happens: log(0 + .005) = -5.3 where EASE found nothing.

    The useful scorer keeps the weight it has alone, for the constant moves no softmax; and the constant's own weight
    stays of ordinary size, so that adding it costs no digits and a view that is no longer constant later does no harm.
    """

    scores, targets, seen = market(30, [2.0, 0.0])
    scores[1] = constant
    alone, weights = fit_weights(scores[:1], targets, seen), fit_weights(scores, targets, seen)
    mixed = np.tensordot(weights.astype(np.float32), scores, axes=1)
    assert mean_ndcg(mixed, targets, seen) >= mean_ndcg(scores[0], targets, seen) - 0.01
    assert abs(weights[1]) <= 100 * abs(weights[0])
    assert weights[0] == pytest.approx(alone[0], rel=0.01)


@pytest.mark.parametrize("shift", [-5.3, 100.0, 3000.0])
def test_a_shift_of_a_scorer_changes_nothing(shift):
    """z + c for all items of all users has the same softmax and the same ranks."""
    scores, targets, seen = market(38, [1.0, 0.7, 0.0])
    shifted = scores + np.array([0, shift, 0], dtype=np.float32)[:, None, None]
    expected = fit_weights(scores, targets, seen)
    np.testing.assert_allclose(fit_weights(shifted, targets, seen), expected, rtol=0.02, atol=0.01)


def test_nothing_but_constants():
    scores = np.zeros((2, 5, 4), dtype=np.float32)
    weights = fit_weights(scores, np.arange(5) % 4, np.zeros((5, 4), dtype=bool))
    assert weights.shape == (2,)
    assert np.all(np.isfinite(weights))


def test_a_single_scorer_keeps_its_sign():
    scores, targets, seen = market(31, [2.0])
    weights = fit_weights(scores, targets, seen)
    assert weights.shape == (1,)
    assert 0 < weights[0] < np.inf


def test_a_misleading_scorer_is_turned_down():
    """A scorer that puts the target last must not pull the mixture below the useful one."""
    scores, targets, seen = market(32, [2.0, -4.0])
    weights = fit_weights(scores, targets, seen)
    assert weights[1] < 0.1 * weights[0]
    assert mean_ndcg(mix(weights, scores), targets, seen) >= mean_ndcg(scores[0], targets, seen) - 0.01


def test_what_is_seen_does_not_count():
    """Scores of excluded items may be anything finite: the ranking never reads them, so the weights must not."""

    # ridge then shrinks a scorer that is large on the history.
    scores, targets, seen = market(33, [1.0, 0.5, 0.0])
    changed = np.where(seen, np.float32(50) * np.random.default_rng(1).normal(size=scores.shape), scores)
    np.testing.assert_allclose(
        fit_weights(changed.astype(np.float32), targets, seen),
        fit_weights(scores, targets, seen),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_scorer_that_repeats_the_history_is_still_recognised():
    """Scorer 0 shouts the seen items above everything, and the target right after them: with them excluded it is
    perfect, without the exclusion it is useless."""
    scores, targets, seen = market(34, [8.0, 0.0])
    scores[0][seen] += 30
    weights = fit_weights(scores, targets, seen)
    assert mean_ndcg(mix(weights, scores), targets, seen) > 0.99


def test_it_is_the_optimum():
    """scipy's, of the likelihood and the ridge written down without blocks; weights are those of scaled scorers."""
    scores, targets, seen = market(35, [1.0, 0.7, 0.0], users=100)
    spread = scores[:, ~seen].std(axis=1, dtype=np.float64)
    scaled = scores / spread[:, None, None]

    def objective(weights):
        return negative_log_likelihood(weights, scaled, targets, seen) + 0.1 / 2 * float(weights @ weights)

    best = minimize(objective, np.zeros(3), options={"gtol": 1e-9})
    np.testing.assert_allclose(fit_weights(scores, targets, seen, ridge=0.1) * spread, best.x, atol=1e-6)


def test_another_order_of_sums_finds_the_same_weights():
    """As another process might add: else two runs of the same seed rank by weights that differ in the third digit."""
    scores, targets, seen = market(36, [1.0, 0.7, 0.0, 0.4, 0.0, 0.2, 0.1], users=200)
    scores[1] = np.exp(2 * scores[1])
    order = np.random.default_rng(0).permutation(ITEMS)
    moved = fit_weights(scores[:, ::-1, order], np.argsort(order)[targets[::-1]], seen[::-1, order])
    np.testing.assert_allclose(moved, fit_weights(scores, targets, seen), rtol=1e-9, atol=1e-11)
