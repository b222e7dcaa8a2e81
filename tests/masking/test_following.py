"""Which sums may be opened beside each other, and what a market expects after one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.errors import RunError
from fedrec.masking.following import check_follows, kept_together, told_apart

NAMES = "abcdefg"
SETS = st.lists(st.sets(st.sampled_from(NAMES), min_size=2).map(sorted), min_size=1, max_size=6)


@given(SETS)
def test_where_nobody_is_told_apart_no_combination_of_sums_is_one_markets_own(sets: list[list[str]]) -> None:
    """By linear algebra: no unit vector lies in the span of the sets; where one does, somebody was named."""
    columns = np.array([[float(name in names) for name in NAMES] for names in sets]).T  # [markets, sums]
    alone = []
    for place, name in enumerate(NAMES):
        unit = np.zeros(len(NAMES))
        unit[place] = 1.0
        weights = np.linalg.lstsq(columns, unit, rcond=None)[0]
        if np.allclose(columns @ weights, unit, atol=1e-8):
            alone.append(name)
    if told_apart(sets) is None:
        assert not alone


@given(SETS)
def test_whoever_is_named_is_in_sums_that_all_others_are_not(sets: list[list[str]]) -> None:
    name = told_apart(sets)
    signatures = {other: [other in names for names in sets] for other in {n for names in sets for n in names}}
    if name is None:
        assert all(list(signatures.values()).count(own) > 1 for own in signatures.values())
    else:
        assert list(signatures.values()).count(signatures[name]) == 1


@given(st.sets(st.sampled_from(NAMES), min_size=2).map(sorted), st.data())
def test_after_a_sum_none_leaves_alone(before: list[str], data: st.DataObject) -> None:
    came = sorted(data.draw(st.sets(st.sampled_from(before))))
    weights = {name: float(data.draw(st.integers(1, 9))) for name in before}
    kept = kept_together(before, came, weights)
    assert set(kept) <= set(came)
    assert len(set(before) - set(kept)) != 1
    assert len(came) - len(kept) <= 1
    assert len(kept) < 2 or told_apart([before, kept]) is None
    for name in set(came) - set(kept):
        assert weights[name] == min(weights[other] for other in came)


def test_last_bits_may_differ_and_nothing_else() -> None:
    expected = {"w": np.linspace(-1, 1, 5, dtype=np.float32)}
    check_follows(expected, {"w": np.nextafter(expected["w"], np.float32(9))}, "the recipe")
    for other in (
        {"w": expected["w"] + np.float32(1e-3)},
        {"w": expected["w"][:4]},
        {"v": expected["w"]},
        {**expected, "v": expected["w"]},
        {"w": np.full(5, np.nan, np.float32)},
    ):
        with pytest.raises(RunError, match="do not follow from the recipe"):
            check_follows(expected, other, "the recipe")
