"""Popularity and its trend against loops over the interactions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.baselines.popularity import popularity, trend
from fedrec.data.sequences import DAY, Sequences

YEAR = 365 * DAY


def make(histories, item_count):
    """Sequences from lists of (item, time)."""
    lengths = [len(history) for history in histories]
    flat = [event for history in histories for event in history]
    return Sequences(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=np.array([item for item, _ in flat], dtype=np.int64),
        times=np.array([time for _, time in flat], dtype=np.int64),
        item_count=item_count,
    )


def random_histories(seed, users=6, items=5, span=3 * YEAR):
    generator = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        times = np.sort(generator.integers(0, int(span), generator.integers(1, 6)))
        histories.append([(int(generator.integers(0, items)), int(time)) for time in times])
    return histories


def naive_trend(histories, item_count, moments, half_life_days):
    """Every interaction not later than the moment counts 2^(-age in days / half-life)."""
    expected = np.zeros((len(moments), item_count))
    for row, moment in enumerate(moments):
        for history in histories:
            for item, time in history:
                if time <= moment:
                    expected[row, item] += 0.5 ** ((int(moment) - time) / 86_400 / half_life_days)
    return expected


def test_popularity_counts_interactions():
    histories = [[(0, 1), (2, 2), (0, 3)], [(2, 1)], [(0, 5)]]
    np.testing.assert_array_equal(popularity(make(histories, 4)), [3, 0, 2, 0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 30.0, 90.0, 5000.0]), st.integers(1, 5))
def test_trend_equals_the_double_loop(seed, half_life, count):
    """Moments in any order, repeated, before the first and after the last interaction."""
    histories = random_histories(seed)
    moments = np.random.default_rng(seed + 1).integers(-int(YEAR), int(4 * YEAR), count)
    moments = np.concatenate([moments, moments[:1]]).astype(np.int64)
    actual = trend(make(histories, 5), moments, half_life)
    assert actual.shape == (count + 1, 5)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, naive_trend(histories, 5, moments, half_life), rtol=1e-5, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_future_changes_nothing(seed):
    """The trend at a moment is the same, to the last bit, whether or not later interactions are known at all."""
    histories = random_histories(seed)
    moment = int(np.random.default_rng(seed + 1).integers(0, int(3 * YEAR)))
    past = [[event for event in history if event[1] <= moment] for history in histories]
    elsewhere = [[(4 - item, time) if time > moment else (item, time) for item, time in h] for h in histories]
    moments = np.array([moment], dtype=np.int64)
    expected = trend(make(histories, 5), moments, 90.0)
    np.testing.assert_array_equal(trend(make(past, 5), moments, 90.0), expected)
    np.testing.assert_array_equal(trend(make(elsewhere, 5), moments, 90.0), expected)


def test_the_moment_itself_counts_and_the_second_after_does_not():
    sequences = make([[(0, 1000), (1, 1001)]], 2)
    np.testing.assert_allclose(trend(sequences, np.array([1000]), 1.0), [[1, 0]], rtol=1e-5)


def test_halves_with_every_half_life():
    sequences = make([[(0, 0)]], 1)
    moments = np.array([0, 10 * DAY, 20 * DAY], dtype=np.int64)
    np.testing.assert_allclose(trend(sequences, moments, 10.0)[:, 0], [1, 0.5, 0.25], rtol=1e-6)


def test_before_anything_happened_nothing_is_popular():
    np.testing.assert_array_equal(trend(make([[(0, 100)], [(1, 200)]], 3), np.array([99]), 5.0), [[0, 0, 0]])


def test_one_moment_never_depends_on_the_others_asked_with_it():
    histories = make(random_histories(3), 5)
    moments = np.array([0, 1, 2, 3], dtype=np.int64) * int(YEAR / 2)
    together = trend(histories, moments, 60.0)
    apart = np.concatenate([trend(histories, moments[b : b + 1], 60.0) for b in range(4)])
    np.testing.assert_allclose(together, apart, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("half_life", [0.01, 1.0])
def test_a_short_half_life_over_fifty_years_neither_overflows_nor_warns(half_life):
    """2^(50 years / half a day) is beyond any float, its inverse underflows to zero, which is the right answer."""
    now = int(50 * YEAR)
    actual = trend(make([[(0, 0), (1, now)]], 2), np.array([0, now], dtype=np.int64), half_life)
    np.testing.assert_allclose(actual, [[1, 0], [0, 1]], atol=1e-6)
