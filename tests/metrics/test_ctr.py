"""Click-through metrics against scikit-learn and loops."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from fedrec.metrics.ctr import Predictions


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
