"""Krum and multi-Krum against Flower's own and against bad updates."""

import numpy as np
import pytest
from flwr.serverapp.strategy import Krum, MultiKrum

from tests.aggregators.updates import SHAPES, aggregated, make_arrays
from tests.strategies.flower import flower_replies, numpy_arrays


@pytest.mark.parametrize("count", [5, 8])
@pytest.mark.parametrize("malicious", [0, 1, 2])
def test_flowers_own_choose_the_same(count, malicious):
    arrays = make_arrays(count, count, np.float64)
    replies = flower_replies(arrays, [1.0] * count)
    for strategy, ours in (
        (Krum(num_malicious_nodes=malicious), aggregated("krum", arrays, malicious=malicious)),
        (
            MultiKrum(num_malicious_nodes=malicious, num_nodes_to_select=3),
            aggregated("multi_krum", arrays, malicious=malicious, selected=3),
        ),
    ):
        record, _ = strategy.aggregate_train(1, replies)
        for name, value in numpy_arrays(record).items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-12, atol=1e-15)


def test_far_updates_are_never_taken():
    """Five near one point, two far away together: with f = 2 each far one has three far neighbours of five."""
    good, bad = make_arrays(3, 5), make_arrays(4, 2)
    good = [{name: 0.01 * value for name, value in one.items()} for one in good]
    bad = [{name: 100 + value for name, value in one.items()} for one in bad]
    for kind, settings in (("krum", {}), ("multi_krum", {"selected": 4})):
        result = aggregated(kind, [*bad, *good], malicious=2, **settings)
        assert all(np.abs(result[name]).max(initial=0) < 1 for name in SHAPES)


def test_krum_returns_one_of_them():
    arrays = make_arrays(5, 6)
    result = aggregated("krum", arrays)
    assert any(all(np.array_equal(result[name], one[name]) for name in SHAPES) for one in arrays)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_updates_still_give_a_model(count):
    arrays = make_arrays(6, count)
    assert set(aggregated("krum", arrays)) == set(SHAPES)
    assert set(aggregated("multi_krum", arrays, selected=3)) == set(SHAPES)
