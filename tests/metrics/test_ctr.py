"""Click-through metrics against scikit-learn and loops."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from fedrec.metrics.ctr import ADDITIVE, Predictions


@st.composite
def instances(draw):
    size = draw(st.integers(2, 40))
    users = np.array(draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)), float)
    predicted = np.array(draw(st.lists(st.integers(1, 9), min_size=size, max_size=size))) / 10  # many ties
    weights = np.array(draw(st.lists(st.integers(0, 4), min_size=6, max_size=6)), float)
    return users, labels, predicted, weights


@settings(max_examples=200, deadline=None)
@given(instances())
def test_auc_and_logloss_are_scikit_learns(data):
    users, labels, predicted, weights = data
    assume(len(np.unique(labels)) == 2)
    found = Predictions(users, labels, predicted)
    assert found.auc() == pytest.approx(roc_auc_score(labels, predicted))
    assert found.logloss() == pytest.approx(log_loss(labels, predicted))
    own = weights[users]
    assume(len(np.unique(labels[own > 0])) == 2)
    drawn = weights[found.users]
    assert found.auc(drawn) == pytest.approx(roc_auc_score(labels, predicted, sample_weight=own))
    assert found.logloss(drawn) == pytest.approx(log_loss(labels, predicted, sample_weight=own))


@settings(max_examples=200, deadline=None)
@given(instances())
def test_group_auc_is_the_mean_of_users_own(data):
    users, labels, predicted, weights = data
    expected, sizes = {}, {}
    for user in np.unique(users):
        own = users == user
        if len(np.unique(labels[own])) == 2:
            expected[user] = roc_auc_score(labels[own], predicted[own])
            sizes[user] = own.sum()
    found = Predictions(users, labels, predicted).group_auc
    assert found.users.tolist() == list(expected)
    np.testing.assert_allclose(found.values, list(expected.values()))
    if not expected:
        assert np.isnan(found.mean())
        return
    assert found.mean() == pytest.approx(np.average(list(expected.values()), weights=list(sizes.values())))
    counted = [sizes[user] * weights[user] for user in expected]
    if sum(counted):
        assert found.mean(weights[found.users]) == pytest.approx(np.average(list(expected.values()), weights=counted))


def test_calibration_by_hand():
    """Two in [.2, .3): mean .25, one positive of two; one in [.9, 1]: .95, positive. (2 x .25 + 1 x .05) / 3."""
    found = Predictions(np.zeros(3, int), np.array([0, 1, 1]), np.array([0.2, 0.3 - 1e-9, 0.95]))
    assert found.ece() == pytest.approx((abs(0.5 - 1) + 0.05) / 3, abs=1e-6)
    assert Predictions(np.zeros(1, int), np.ones(1), np.ones(1)).ece() == 0


def test_one_kind_of_label_has_no_auc():
    assert np.isnan(Predictions(np.zeros(2, int), np.ones(2), np.array([0.1, 0.2])).auc())


def test_certain_and_wrong_stays_finite():
    assert np.isfinite(Predictions(np.zeros(1, int), np.ones(1), np.zeros(1)).logloss())


@settings(max_examples=200, deadline=None)
@given(instances(), st.sampled_from(ADDITIVE))
def test_a_users_part_is_the_figure_and_its_derivative_by_that_users_weight(data, metric):
    """The derivative is taken from the weighted figure itself, by a small step each way."""
    users, labels, predicted, _ = data
    found = Predictions(users, labels, predicted)

    def figure(weights):
        if metric == "gauc":
            return found.group_auc.mean(weights[found.group_auc.users])
        return getattr(found, metric)(weights[found.users])

    everybody = np.ones(6)
    assume(np.isfinite(figure(everybody)))
    parts = found.contributions(metric)
    assert list(parts) == np.unique(users).tolist()
    assert np.mean(list(parts.values())) == pytest.approx(figure(everybody))
    for user, part in parts.items():
        step = 1e-5 * (np.arange(6) == user)
        slope = (figure(everybody + step) - figure(everybody - step)) / 2e-5
        assert part == pytest.approx(figure(everybody) + len(parts) * slope, abs=1e-6)


def test_with_one_instance_a_user_the_spread_of_parts_is_delongs():
    """Variance of an AUC after DeLong, DeLong and Clarke-Pearson (Biometrics 1988), by loops over pairs."""
    generator = np.random.default_rng(4)
    labels = (generator.random(60) < 0.4).astype(float)
    predicted = np.round(generator.random(60) + 0.3 * labels, 1)
    positives, negatives = predicted[labels == 1], predicted[labels == 0]
    wins = np.array([[(p > n) + 0.5 * (p == n) for n in negatives] for p in positives])
    expected = wins.mean(axis=1).var() / len(positives) + wins.mean(axis=0).var() / len(negatives)
    parts = list(Predictions(np.arange(60), labels, predicted).contributions("auc").values())
    assert np.var(parts) / 60 == pytest.approx(expected)


def test_without_a_figure_there_are_no_parts():
    parts = Predictions(np.arange(2), np.ones(2), np.array([0.1, 0.2])).contributions("auc")
    assert np.isnan(list(parts.values())).all()
