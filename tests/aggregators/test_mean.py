"""Averaging of shared parameters against np.average in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.exchange.weights import relative_weights
from tests.aggregators.updates import SHAPES, aggregated, make_arrays


def mean(arrays, weights):
    return aggregated("mean", arrays, weights)


def to_one(values):
    return [value / math.fsum(values) for value in values]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=7),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_equals_the_float64_average_in_the_first_updates_type(seed, counts, dtype):
    """sum_m w_m x_m, formed in double precision and rounded once: within one last bit of the type."""
    updates, weights = make_arrays(seed, len(counts), dtype), to_one(counts)
    average = mean(updates, weights)
    assert set(average) == set(SHAPES)
    for name, shape in SHAPES.items():
        assert isinstance(average[name], np.ndarray)
        assert average[name].dtype == dtype
        assert average[name].shape == shape
        stacked = np.stack([update[name] for update in updates]).astype(np.float64)
        expected = np.average(stacked, axis=0, weights=weights)
        np.testing.assert_allclose(
            average[name].astype(np.float64), expected, rtol=2 * np.finfo(dtype).eps, atol=4 * np.finfo(np.float64).eps
        )


@settings(max_examples=30, deadline=None)
@given(st.permutations(["ca", "de", "fr", "in", "jp", "mx", "uk"]))
def test_arrival_order_does_not_matter_once_callers_sort(arrival):
    """Replies sorted by market give the same bytes; unsorted ones still agree to float32's rounding."""
    counts = {market: 3**index for index, market in enumerate(sorted(arrival))}
    values = dict(zip(sorted(arrival), make_arrays(1, 7), strict=True))

    def average(order):
        return mean([values[m] for m in order], relative_weights("interactions", [counts[m] for m in order]))

    expected = average(["ca", "de", "fr", "in", "jp", "mx", "uk"])
    for name in SHAPES:
        assert average(sorted(arrival))[name].tobytes() == expected[name].tobytes()
        np.testing.assert_allclose(average(arrival)[name], expected[name], rtol=3e-7, atol=1e-9)


def test_sums_in_double_precision():
    """2^24 + 1 is no float32: summing the float32 terms one after another would lose every small one.

    Weights 1/4: (2^26 + 4 + 4 + 4) / 4 = 2^24 + 3, rounded once to float32 (spacing 2, ties to even): 2^24 + 4.
    In float32 2^24 + 1 is 2^24 each time: 2^24.
    """
    updates = [{"x": np.array([value], dtype=np.float32)} for value in (2.0**26, 4.0, 4.0, 4.0)]
    assert mean(updates, [0.25] * 4)["x"] == [np.float32(2**24 + 4)]


def test_values_near_the_largest_float_do_not_overflow():
    largest = np.finfo(np.float32).max
    updates = [{"x": np.array([largest], dtype=np.float32)}] * 3
    assert mean(updates, [0.5, 0.25, 0.25])["x"] == [largest]


def test_one_update_is_returned_unchanged_and_not_aliased():
    update = make_arrays(2, 1)[0]
    average = mean([update], [1.0])
    for name, value in update.items():
        np.testing.assert_array_equal(average[name], value)
        assert not np.shares_memory(average[name], value)


def test_inputs_are_left_as_they_were():
    updates, copies = make_arrays(3, 3), make_arrays(3, 3)
    mean(updates, [0.2, 0.3, 0.5])
    for update, copy in zip(updates, copies, strict=True):
        for name in SHAPES:
            np.testing.assert_array_equal(update[name], copy[name])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("interactions", [0.1, 0.9, 0.0]), ("uniform", [1 / 3] * 3), ("square_root", [0.25, 0.75, 0.0])],
)
def test_kinds_of_weights(kind, expected):
    """1, 9 and almost no interactions: shares 1/10 and 9/10; roots 1 and 3, so 1/4 and 3/4."""
    assert relative_weights(kind, [1, 9, 1e-30]) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["interactions", "uniform", "square_root"]),
    st.lists(st.integers(1, 10**9), min_size=1, max_size=12),
)
def test_weights_sum_to_one_and_follow_their_kind(kind, interactions):
    power = {"interactions": 1.0, "uniform": 0.0, "square_root": 0.5}[kind]
    total = math.fsum(count**power for count in interactions)
    weights = relative_weights(kind, interactions)
    assert weights == pytest.approx([count**power / total for count in interactions], rel=1e-12)
    assert math.fsum(weights) == pytest.approx(1, abs=1e-12)
