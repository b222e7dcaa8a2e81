"""Paired bootstrap intervals."""

import numpy as np
import pytest

from fedrec.metrics.significance import paired_bootstrap


def draws(seed=0):
    return np.random.default_rng(seed)


def test_interval_covers_a_known_mean_about_95_percent_of_the_time():
    """400 samples of 80 users from N(0.3, 1).

    The number of covering intervals is binomial; at 95 % its standard error is sqrt(.95 * .05 / 400) = 1.1 %, and the
    percentile interval of 80 users lacks about 1 %. 91 % to 98 % is three standard errors around that.
    """
    generator = draws(1)
    covered = 0
    for _ in range(400):
        interval = paired_bootstrap(generator.normal(0.3, 1, 80), 400, generator)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.91 <= covered / 400 <= 0.98


def test_interval_has_the_normal_width():
    """For many users the bootstrap mean is normal: mean +- 1.96 sd / sqrt(U), and +- 1.645 sd / sqrt(U) at 90 %."""
    difference = draws(2).normal(0.1, 2, 1000)
    error = difference.std() / np.sqrt(1000)
    for level, z in ((0.95, 1.960), (0.9, 1.645)):
        interval = paired_bootstrap(difference, 4000, draws(3), level)
        assert interval.low == pytest.approx(difference.mean() - z * error, abs=0.2 * error)
        assert interval.high == pytest.approx(difference.mean() + z * error, abs=0.2 * error)


def test_two_users_by_enumeration():
    """Of the users {0, 1} a resample is 00, 01, 10, 11: its mean is 0, 1/2, 1 with chance 1/4, 1/2, 1/4.

    So the 2.5 and 97.5 % points are 0 and 1, and the 30 and 70 % points are both 1/2.
    """
    difference = np.array([0.0, 1.0])
    assert paired_bootstrap(difference, 1000, draws(4)) == (0.5, 0.0, 1.0)
    assert paired_bootstrap(difference, 1000, draws(4), level=0.4) == (0.5, 0.5, 0.5)


def test_mean_is_the_mean_of_the_users_not_of_the_resamples():
    difference = draws(5).normal(size=37)
    interval = paired_bootstrap(difference, 10, draws(6))
    assert interval.mean == pytest.approx(difference.mean(), rel=1e-14)


def test_same_generator_same_interval():
    difference = draws(7).normal(size=200)
    assert paired_bootstrap(difference, 100, draws(8)) == paired_bootstrap(difference, 100, draws(8))
    assert paired_bootstrap(difference, 100, draws(8)) != paired_bootstrap(difference, 100, draws(9))


def test_equal_differences_have_no_width():
    interval = paired_bootstrap(np.full(50, 0.25), 100, draws(10))
    assert interval == pytest.approx((0.25, 0.25, 0.25), abs=1e-14)


def test_a_single_user():
    assert paired_bootstrap(np.array([0.5]), 20, draws(11)) == pytest.approx((0.5, 0.5, 0.5))


def test_sign_is_kept():
    """Swapping the methods mirrors the interval: the same users are drawn."""
    difference = draws(12).normal(0.2, 1, 150)
    one, other = paired_bootstrap(difference, 500, draws(13)), paired_bootstrap(-difference, 500, draws(13))
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low), abs=1e-12)
