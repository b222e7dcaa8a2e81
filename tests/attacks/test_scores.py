"""Scores of attacks against plain definitions, and what they prove of epsilon against a mechanism of known epsilon."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedrec.attacks.scores import chance_of, epsilon_at_least, precision_at, recall_at, separation


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_auc_is_how_often_a_member_scores_higher(pairs):
    scores, member = np.array([s for s, _ in pairs], float), np.array([m for _, m in pairs])
    if member.all() or not member.any():
        with pytest.raises(ValueError, match="nothing to tell apart"):
            separation(scores, member)
        return
    wins = [float(a > b) + 0.5 * float(a == b) for a in scores[member] for b in scores[~member]]
    assert separation(scores, member).auc == pytest.approx(sum(wins) / len(wins))


def test_true_positives_at_one_false_alarm_in_a_hundred():
    others = np.arange(200.0)  # two false alarms are allowed: the threshold lies above 197
    members = np.array([1000.0, 198.5, 197.5, 10.0])
    scores, member = np.r_[members, others], np.arange(204) < 4
    assert separation(scores, member).tpr == 0.75


def test_precision_and_recall_of_the_first():
    scores, truth = np.array([0.9, 0.1, 0.8, 0.7]), np.array([True, True, False, True])
    assert precision_at(scores, truth, 2) == 0.5
    assert recall_at(scores, truth, 3) == pytest.approx(2 / 3)
    assert recall_at(scores, truth, 1) == 1.0
    assert recall_at(scores, np.zeros(4, bool), 2) == 0.0
    assert precision_at(scores[:0], truth[:0], 2) == 0.0


@pytest.mark.parametrize(("right", "epsilon"), [(60, 0.0), (60, 1.0), (95, 2.0)])
def test_without_delta_the_chance_is_a_binomial_tail(right, epsilon):
    each = math.exp(epsilon) / (1 + math.exp(epsilon))
    expected = sum(stats.binom.pmf(k, 100, each) for k in range(right, 101))
    assert chance_of(1000, 100, right, epsilon, 0.0) == pytest.approx(expected)
    assert chance_of(1000, 100, right, epsilon, 1e-5) >= expected


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_randomised_answers_are_never_proved_to_leak_more_than_they_do(epsilon):
    """Everyone says whether they take part, truthfully with chance e^eps / (1 + e^eps): epsilon is known exactly."""
    proved = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        member = generator.random(1000) < 0.5
        lies = generator.random(1000) > math.exp(epsilon) / (1 + math.exp(epsilon))
        proved.append(epsilon_at_least((member ^ lies) + generator.random(1000) * 0.1, member, 0.0))
    assert sum(bound > epsilon for bound in proved) <= 5  # 5 % are allowed to be
    assert np.median(proved) > 0.5 * epsilon  # and it is no empty bound


def test_guessing_proves_nothing_and_certainty_proves_much():
    generator = np.random.default_rng(0)
    member = generator.random(500) < 0.5
    assert epsilon_at_least(generator.random(500), member, 1e-5) == 0.0
    assert epsilon_at_least(member.astype(float), member, 1e-5) > 4
