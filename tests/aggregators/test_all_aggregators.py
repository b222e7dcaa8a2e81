"""What every aggregator keeps, ours and any that is added to the house."""

import numpy as np
import pytest

from fedrec.components import find
from tests.aggregators.updates import KINDS, LINEAR, SHAPES, as_updates, built, make_arrays

EVERY = pytest.mark.parametrize("kind", KINDS)
WEIGHTS = [0.5, 0.2, 0.2, 0.1]


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_names_shapes_and_types_are_those_of_the_model(kind, dtype):
    """A number alone is an array of no dimensions: Flower's records take nothing else."""
    current, *arrays = make_arrays(1, 5, dtype)
    result, state = built(kind).apply(current, as_updates(arrays, WEIGHTS), built(kind).init())
    assert {name: (type(a), a.shape, a.dtype) for name, a in result.items()} == {
        name: (np.ndarray, shape, dtype) for name, shape in SHAPES.items()
    }
    assert all(isinstance(array, np.ndarray) for array in state.values())


@EVERY
def test_nothing_that_it_is_given_changes(kind):
    inputs = [make_arrays(2, 5), make_arrays(2, 5)]
    states = []
    for current, *arrays in inputs:
        _, state = built(kind).apply(current, as_updates(arrays, WEIGHTS), {})
        before = {name: array.copy() for name, array in state.items()}
        built(kind).apply(current, as_updates(arrays, WEIGHTS), state)
        states.append((before, state))
    for before, state in states:
        assert all(np.array_equal(before[name], state[name]) for name in before)
    for one, other in zip(*inputs, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in SHAPES)


@EVERY
@pytest.mark.parametrize("stop", [1, 3])
def test_going_on_from_a_saved_state_changes_nothing(kind, stop):
    """Five rounds, and the same five with another process from round ``stop`` on, are the same bytes."""
    current, state = make_arrays(1, 1)[0], {}
    results, saved = [], None
    aggregator = built(kind)
    for number in range(5):
        if number == stop:
            saved, resumed = {name: np.array(array) for name, array in state.items()}, dict(current)
        current, state = aggregator.apply(current, as_updates(make_arrays(100 + number, 4), WEIGHTS), state)
        results.append(current)
    other = built(kind)
    for number in range(stop, 5):
        resumed, saved = other.apply(resumed, as_updates(make_arrays(100 + number, 4), WEIGHTS), saved)
        assert all(resumed[name].tobytes() == results[number][name].tobytes() for name in SHAPES)


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_ones_see_the_weighted_mean_alone(kind):
    """So that a masked sum, which is all that the server then has, gives the same."""
    current, *arrays = make_arrays(4, 5, np.float64)
    mean = {name: sum(w * one[name] for w, one in zip(WEIGHTS, arrays, strict=True)) for name in SHAPES}
    mean = {name: np.asarray(value) for name, value in mean.items()}
    one, state = built(kind).apply(current, as_updates(arrays, WEIGHTS), {})
    other, same = built(kind).apply(current, as_updates([mean], [1.0]), {})
    for name in SHAPES:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-12)
    assert state.keys() == same.keys()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(LINEAR)))
def test_others_do_not(kind):
    """The counter-check; Flower's FedAvg could be called linear, but its strategies are not known to be."""
    if kind == "flower":
        assert not find("aggregator", kind).linear
        return
    current, *arrays = make_arrays(4, 6, np.float64)
    mean = {name: np.mean([one[name] for one in arrays], axis=0) for name in SHAPES}
    one, _ = built(kind).apply(current, as_updates(arrays), {})
    assert not np.allclose(one["weight"], mean["weight"])
