"""Integers of the ring: exact sums, errors within the bound, and no wrapping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.masking.ring import Format, fitting, format_of


@given(
    st.lists(st.lists(st.floats(-16, 16), min_size=3, max_size=3), min_size=1, max_size=9),
    st.sampled_from([16.0, 20.0, 1000.0]),
)
def test_a_sum_is_off_by_half_a_step_a_market(values, largest):
    form = fitting(len(values), largest)
    total = np.zeros(3, form.dtype)
    for row in values:
        total = total + form.encode(np.array(row))
    error = np.abs(form.decode(total) - np.sum(values, axis=0))
    assert (error <= len(values) * form.step / 2 + 1e-12).all()


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("members", [1, 2, 7, 100])
def test_the_largest_numbers_of_all_do_not_wrap(bits, members):
    form = Format(bits, 1.0, members)
    largest = float(np.nextafter(form.limit, 0)) if bits == 64 else float(form.limit)
    for sign in (1, -1):
        total = np.zeros(1, form.dtype)
        for _ in range(members):
            total = total + form.encode(np.array([sign * largest]))
        assert form.decode(total)[0] == pytest.approx(sign * members * largest, rel=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 17.0 * 2])
def test_what_does_not_fit_is_refused(value):
    with pytest.raises(ValueError, match="does not fit"):
        fitting(7, 16.0).encode(np.array([0.0, value]))


def test_counts_are_exact_and_steps_fine():
    counts = format_of("statistics.count.0", 7, 16.0, noised=False)
    assert counts.decode(counts.encode(np.array([0, 3, 2**40]))).tolist() == [0, 3, 2**40]
    assert format_of("pairs", 7, 16.0, noised=False).step == 1
    assert format_of("pairs", 7, 16.0, noised=True).step < 1e-3
    assert format_of("encoder.norm.weight", 7, 16.0, noised=False).step < 1e-7
