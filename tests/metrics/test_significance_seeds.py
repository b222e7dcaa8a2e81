"""Several comparisons on the same users, and intervals over seeds and users."""

from itertools import product

import numpy as np
import pytest

from fedrec.metrics.significance import (
    Interval,
    bootstrap_means_over_seeds,
    bootstrap_over_seeds,
    paired_bootstrap,
    paired_bootstraps,
)

NORMAL_95 = 2 * 1.959964  # width of the normal's middle 95 %, in standard deviations


def draws(seed):
    return np.random.default_rng(seed)


def width(interval):
    return interval.high - interval.low


@pytest.mark.parametrize(("users", "comparisons", "level"), [(1, 3, 0.95), (40, 1, 0.95), (40, 5, 0.8)])
def test_every_comparison_sees_the_same_resampled_users(users, comparisons, level):
    """Column k is the bootstrap of column k alone under the same draws."""
    differences = draws(1).normal(size=(users, comparisons))
    together = paired_bootstraps(differences, 60, draws(2), level)
    assert len(together) == comparisons
    for column, interval in zip(differences.T, together, strict=True):
        assert isinstance(interval, Interval)
        assert interval == pytest.approx(paired_bootstrap(column, 60, draws(2), level), abs=1e-13)


def test_a_difference_of_comparisons_is_the_comparison_of_the_difference():
    """Means are linear in the users drawn: if c = a + 2 in every user, so in every resample, so are the bounds."""
    first = draws(3).normal(size=50)
    one, other = paired_bootstraps(np.stack([first, first + 2], axis=1), 80, draws(4))
    assert other == pytest.approx([value + 2 for value in one], abs=1e-12)


def test_seeds_and_users_by_enumeration():
    """Two seeds, two users, differences [[0, 0], [4, 8]].

    Seeds drawn 00, 01, 10, 11 give user means (0, 0), (2, 4) twice, (4, 8); users drawn 00, 01, 10, 11 of each: the 16
    outcomes are equally likely. Their quantiles are read from the list, at levels between its steps.
    """
    outcomes = sorted(
        np.mean([np.mean([d[user] for d in seeds]) for user in users])
        for seeds in product([(0, 0), (4, 8)], repeat=2)
        for users in product([0, 1], repeat=2)
    )
    assert outcomes == [0] * 4 + [2] * 2 + [3] * 4 + [4] * 3 + [6] * 2 + [8]
    differences = np.array([[0.0, 0.0], [4.0, 8.0]])
    # Middle 94 %: 3 % below (of 4 in 16 at zero), 3 % above (of 1 in 16 at eight).
    assert bootstrap_over_seeds(differences, 4000, draws(5), 0.94) == (3.0, 0.0, 8.0)
    # Middle 40 %: at 30 % of the outcomes stands 2 (25 to 37.5 %), at 70 % stands 4 (62.5 to 81.25 %).
    assert bootstrap_over_seeds(differences, 4000, draws(6), 0.4) == (3.0, 2.0, 4.0)


@pytest.mark.parametrize(("seed_spread", "user_spread"), [(1.0, 0.0), (0.0, 10.0), (1.0, 10.0), (0.3, 10.0)])
def test_width_is_that_of_the_seeds_and_the_users_together(seed_spread, user_spread):
    """Differences a_s + b_u: a resample's mean is mean(a*) + mean(b*), drawn apart.

    So its variance is var(a) / S + var(b) / U (variances of the resampled population), and with 40 seeds and 400 users
    it is nearly normal: the 95 % interval is 3.92 standard deviations wide. Of 3000 draws the width is known to 3 %.
    """
    seeds, users = 40, 400
    a, b = seed_spread * draws(7).normal(size=seeds), user_spread * draws(8).normal(size=users)
    interval = bootstrap_over_seeds(a[:, None] + b, 3000, draws(9))
    deviation = np.sqrt(a.var() / seeds + b.var() / users)
    assert interval.mean == pytest.approx(a.mean() + b.mean(), abs=1e-12)
    assert width(interval) == pytest.approx(NORMAL_95 * deviation, rel=0.1)


def test_independent_noise_of_seed_and_user():
    """Noise of its own in every (seed, user), variance v. With n_s and m_u the times that a seed and a user are drawn,
    a resample's mean is sum n_s m_u d_su / (S U); on the average over such noise its variance is that of n_s m_u, times
    v / (S U). E n^2 and E m^2 are nearly 2 and the means are 1, so var(n m) = 2 * 2 - 1: three times the variance of
    the plain mean (the interval errs on the wide side: Owen, Annals of Applied Statistics 2007).
    """
    seeds, users = 50, 200
    noise = draws(10).normal(size=(seeds, users))
    interval = bootstrap_over_seeds(noise, 3000, draws(11))
    assert width(interval) == pytest.approx(NORMAL_95 * np.sqrt(3 / (seeds * users)), rel=0.12)


def test_one_seed_is_the_bootstrap_over_users():
    """Nothing to resample among one seed: 2 * 1.96 sd / sqrt(U), as wide as the paired bootstrap."""
    difference = draws(12).normal(0.2, 3, 500)
    interval = bootstrap_over_seeds(difference[None], 3000, draws(13))
    assert interval.mean == pytest.approx(difference.mean(), abs=1e-12)
    assert width(interval) == pytest.approx(NORMAL_95 * difference.std() / np.sqrt(500), rel=0.1)
    assert width(interval) == pytest.approx(width(paired_bootstrap(difference, 3000, draws(14))), rel=0.1)


def test_equal_differences_have_no_width_and_the_generator_decides():
    assert bootstrap_over_seeds(np.full((3, 20), 0.25), 50, draws(15)) == pytest.approx((0.25, 0.25, 0.25), abs=1e-14)
    noise = draws(16).normal(size=(4, 30))
    assert bootstrap_over_seeds(noise, 50, draws(17)) == bootstrap_over_seeds(noise, 50, draws(17))
    assert bootstrap_over_seeds(noise, 50, draws(17)) != bootstrap_over_seeds(noise, 50, draws(18))


def test_the_mean_of_markets_counts_each_alike():
    """Its variance is that of the mean of independent means: every market draws its own users."""
    generator = draws(19)
    markets = {"one": generator.normal(1, 1, (1, 400)), "two": generator.normal(3, 1, (1, 100))}
    found = bootstrap_means_over_seeds(markets, 4000, draws(20))
    assert list(found) == ["one", "two", "mean"]
    assert found["mean"].mean == pytest.approx((markets["one"].mean() + markets["two"].mean()) / 2)
    half = (found["mean"].high - found["mean"].low) / 2 / 1.96
    assert half == pytest.approx(np.sqrt(1 / 400 + 1 / 100) / 2, rel=0.15)


def test_one_market_is_that_of_itself():
    noise = draws(21).normal(size=(3, 40))
    assert bootstrap_means_over_seeds({"one": noise}, 80, draws(22))["one"] == bootstrap_over_seeds(
        noise, 80, draws(22)
    )
