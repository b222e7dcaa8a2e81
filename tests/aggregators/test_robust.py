"""Robust aggregation against loops, SciPy, and Flower's own strategies."""

import math
import statistics

import numpy as np
import pytest
from flwr.serverapp.strategy import FedMedian, FedTrimmedAvg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.aggregators.updates import SHAPES, aggregated, make_arrays
from tests.strategies.flower import flower_replies, numpy_arrays


def coordinate_median(arrays):
    return aggregated("median", arrays)


def trimmed_mean(arrays, trim):
    return aggregated("trimmed_mean", arrays, trim=trim)


TRIMS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.34, 0.4, 0.49])


def by_coordinate(updates, name, summary):
    """``summary`` of every single number's list of values, in Python floats."""
    columns = zip(*(update[name].ravel().tolist() for update in updates), strict=True)
    return np.array([summary(column) for column in columns]).reshape(SHAPES[name])


def trimmed(values, trim):
    cut = math.floor(trim * len(values))
    kept = sorted(values)[cut : len(values) - cut]
    return math.fsum(kept) / len(kept)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), TRIMS, st.sampled_from([np.float32, np.float64]))
def test_every_number_by_itself(seed, count, trim, dtype):
    """The median by :mod:`statistics`, the trimmed mean by sorting; formed in float64 and rounded once."""
    updates = make_arrays(seed, count, dtype)
    for aggregate, summary in (
        (coordinate_median(updates), statistics.median),
        (trimmed_mean(updates, trim), lambda values: trimmed(values, trim)),
    ):
        assert set(aggregate) == set(SHAPES)
        for name, shape in SHAPES.items():
            assert aggregate[name].shape == shape
            assert aggregate[name].dtype == dtype
            expected = by_coordinate(updates, name, summary)
            np.testing.assert_allclose(aggregate[name], expected, rtol=2 * np.finfo(dtype).eps, atol=1e-15)


@pytest.mark.parametrize("count", [2, 5, 9])
def test_references(count):
    """NumPy's median and SciPy's trimmed mean of the stacked updates; without trimming it is the plain mean."""
    updates = make_arrays(1, count, np.float64)
    median, cut, mean = coordinate_median(updates), trimmed_mean(updates, 0.3), trimmed_mean(updates, 0.0)
    for name in SHAPES:
        stacked = np.stack([update[name] for update in updates])
        np.testing.assert_allclose(median[name], np.median(stacked, axis=0), rtol=1e-15)
        np.testing.assert_allclose(cut[name], stats.trim_mean(stacked, 0.3, axis=0), rtol=1e-15)
        np.testing.assert_allclose(mean[name], stacked.mean(axis=0), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("count", [3, 4, 7])
def test_flowers_own_strategies_agree(count):
    updates = make_arrays(2, count, np.float64)
    for strategy, ours in (
        (FedMedian(), coordinate_median(updates)),
        (FedTrimmedAvg(beta=0.3), trimmed_mean(updates, 0.3)),
    ):
        arrays, _ = strategy.aggregate_train(1, flower_replies(updates, [1.0] * count))
        for name, value in numpy_arrays(arrays).items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(3, 9),
    TRIMS,
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=4, max_size=4),
    st.randoms(use_true_random=False),
)
def test_a_few_bad_markets_cannot_leave_the_range_of_the_good_ones(seed, count, trim, wild, random):
    """The median holds with fewer than half bad, the trimmed mean with at most floor(trim * M), wherever they stand.

    With b bad values and b cut off at either end, every value kept lies between two good ones.
    """
    updates = make_arrays(seed, count)
    median_bad, trim_bad = (count - 1) // 2, math.floor(trim * count)
    for bad, aggregate in ((median_bad, coordinate_median), (trim_bad, lambda given: trimmed_mean(given, trim))):
        good = updates[bad:]
        spoilt = [
            {name: np.full(shape, wild[index % 4], np.float32) for name, shape in SHAPES.items()}
            for index in range(bad)
        ]
        mixed = spoilt + good
        random.shuffle(mixed)
        result = aggregate(mixed)
        for name in SHAPES:
            stacked = np.stack([update[name] for update in good])
            assert (result[name] >= stacked.min(axis=0)).all()
            assert (result[name] <= stacked.max(axis=0)).all()


def test_one_too_many_breaks_it():
    """So the property above says something: two bad ones of four move the median, and trim .2 cuts floor(.8) = none."""
    updates = [{"x": np.array([value], np.float32)} for value in (0.0, 0.0, 1e6, 1e6)]
    assert coordinate_median(updates)["x"] == [5e5]
    assert trimmed_mean(updates, 0.2)["x"] == [5e5]
    assert trimmed_mean(updates[:3], 0.4)["x"] == [0]


AGGREGATES = pytest.mark.parametrize("aggregate", [coordinate_median, lambda updates: trimmed_mean(updates, 0.25)])


@AGGREGATES
def test_inputs_are_left_as_they_were(aggregate):
    updates, copies = make_arrays(3, 4), make_arrays(3, 4)
    aggregate(updates)
    for update, copy in zip(updates, copies, strict=True):
        assert all(np.array_equal(update[name], copy[name]) for name in SHAPES)


@AGGREGATES
def test_scalars_stay_arrays(aggregate):
    """As of ``weighted_average``: a number alone is an array of no dimensions; Flower's records take nothing else."""
    assert [type(value) for value in aggregate(make_arrays(3, 4)).values()] == [np.ndarray] * len(SHAPES)
