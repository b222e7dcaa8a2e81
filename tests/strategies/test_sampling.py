"""Seeded sampling of markets."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.strategies.sampling import sample_markets

MARKETS = ["uk", "ca", "mx", "fr", "de", "jp", "in"]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 7), st.sampled_from([0.01, 0.25, 0.3, 0.5, 0.6, 0.99, 1.0]), st.integers(0, 99), st.integers(1, 50)
)
def test_a_sorted_sample_without_repeats_of_the_right_size(count, participation, seed, server_round):
    sample = sample_markets(MARKETS[:count], participation, seed, server_round)
    assert sample == sorted(set(sample))
    assert set(sample) <= set(MARKETS[:count])
    assert len(sample) == max(1, math.ceil(Fraction(str(participation)) * count))


@pytest.mark.parametrize(("participation", "count"), [(0.07, 100), (0.28, 25), (0.55, 100), (0.1, 30), (0.7, 10)])
def test_a_whole_share_is_not_rounded_up(participation, count):
    """7 % of 100 markets are 7 markets, though 0.07 * 100 is 7.000000000000001 in floating point."""
    markets = [f"m{index:03d}" for index in range(count)]
    assert len(sample_markets(markets, participation, 0, 1)) == math.ceil(Fraction(str(participation)) * count)


def test_same_seed_and_round_same_sample_whatever_the_order_given():
    for server_round in range(1, 20):
        expected = sample_markets(MARKETS, 0.5, 3, server_round)
        assert sample_markets(MARKETS, 0.5, 3, server_round) == expected
        assert sample_markets(sorted(MARKETS), 0.5, 3, server_round) == expected
        assert sample_markets(MARKETS[::-1], 0.5, 3, server_round) == expected


def test_rounds_and_seeds_differ():
    by_round = {tuple(sample_markets(MARKETS, 0.5, 0, server_round)) for server_round in range(1, 30)}
    by_seed = {tuple(sample_markets(MARKETS, 0.5, seed, 1)) for seed in range(30)}
    assert len(by_round) > 5
    assert len(by_seed) > 5


def test_every_market_is_drawn_about_equally_often():
    """3 of 7 in each of 700 rounds: 300 times each; the standard deviation is sqrt(700 * 3/7 * 4/7) = 13."""
    counts = dict.fromkeys(MARKETS, 0)
    for server_round in range(700):
        for market in sample_markets(MARKETS, 3 / 7, 5, server_round):
            counts[market] += 1
    assert all(235 <= count <= 365 for count in counts.values())


def test_the_list_given_is_left_as_it_was():
    markets = list(MARKETS)
    sample_markets(markets, 0.5, 0, 1)
    assert markets == MARKETS
