"""Mean pairwise cosine between the markets' changes."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.strategies.drift import mean_pairwise_cosine

SHAPES = {"a": (3,), "b": (2, 2), "c": ()}


def draw(generator, scale=1.0):
    return {name: np.asarray(scale * generator.normal(size=shape), dtype=np.float32) for name, shape in SHAPES.items()}


def naive(current, updates):
    """Every pair by loops over all numbers of all arrays, in Python floats."""
    changes = []
    for update in updates:
        change = []
        for name in sorted(current):
            for after, before in zip(update[name].ravel().tolist(), current[name].ravel().tolist(), strict=True):
                change.append(after - before)
        changes.append(change)
    moved = [change for change in changes if any(change)]
    cosines = []
    for one, other in combinations(moved, 2):
        product = math.fsum(x * y for x, y in zip(one, other, strict=True))
        cosines.append(product / math.sqrt(math.fsum(x * x for x in one) * math.fsum(y * y for y in other)))
    return sum(cosines) / len(cosines) if cosines else None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([1e-4, 1.0, 1e4]))
def test_equals_the_naive_pairs(seed, count, scale):
    generator = np.random.default_rng(seed)
    current, updates = draw(generator), [draw(generator, scale) for _ in range(count)]
    assert mean_pairwise_cosine(current, updates) == pytest.approx(naive(current, updates), abs=1e-6)


def test_a_market_that_did_not_move_is_left_out():
    generator = np.random.default_rng(1)
    current = draw(generator)
    updates = [draw(generator), draw(generator)]
    still = {name: value.copy() for name, value in current.items()}
    assert mean_pairwise_cosine(current, [updates[0], still, updates[1]]) == pytest.approx(naive(current, updates))


@pytest.mark.parametrize("moved", [0, 1])
def test_fewer_than_two_changes_have_no_drift(moved):
    generator = np.random.default_rng(2)
    current = draw(generator)
    updates = [draw(generator) for _ in range(moved)]
    still = {name: value.copy() for name, value in current.items()}
    assert mean_pairwise_cosine(current, updates) is None
    assert mean_pairwise_cosine(current, [*updates, still, still]) is None


def test_known_directions():
    """Same direction at other length: 1. Opposite: -1. Axes at right angles: 0. Three at 120 degrees: -1/2."""
    zero = {"x": np.zeros(2)}

    def at(*directions):
        return mean_pairwise_cosine(zero, [{"x": np.array(direction, dtype=np.float64)} for direction in directions])

    assert at((1, 2), (10, 20)) == pytest.approx(1)
    assert at((1, 2), (-3, -6)) == pytest.approx(-1)
    assert at((1, 0), (0, 5)) == pytest.approx(0, abs=1e-15)
    half, root = 0.5, math.sqrt(3) / 2
    assert at((1, 0), (-half, root), (-half, -root)) == pytest.approx(-0.5)


def test_stays_within_the_bounds_of_a_cosine():
    change = {"x": np.full(1000, 0.1, dtype=np.float32)}
    cosine = mean_pairwise_cosine({"x": np.zeros(1000, dtype=np.float32)}, [change] * 7)
    assert -1 <= cosine <= 1 + 1e-12  # rounding aside


def test_length_of_a_change_does_not_matter():
    """Cosines ignore length: a market with a hundredfold step does not outvote the others."""
    generator = np.random.default_rng(3)
    zero = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    updates = [draw(generator) for _ in range(3)]
    longer = [{name: 100 * value for name, value in updates[0].items()}, *updates[1:]]
    assert mean_pairwise_cosine(zero, longer) == pytest.approx(mean_pairwise_cosine(zero, updates), abs=1e-6)
