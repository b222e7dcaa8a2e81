"""Server optimisers against Flower's own FedAdam and FedYogi."""

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAdam, FedYogi
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.exchange.server_optimiser import ServerOptimiser
from fedrec.exchange.weights import relative_weights
from fedrec.recipe import ServerOptimiserSettings
from strategies.averaging import weighted_average
from tests.strategies.flower import flower_replies, numpy_arrays
from tests.strategies.test_averaging import SHAPES, make_updates

FLOWER = {"adam": FedAdam, "yogi": FedYogi}


def configured(kind, **changes):
    values = {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "tau": 1e-2, **changes}
    return ServerOptimiserSettings(kind=kind, **values)


def aggregates(rounds, dtype=np.float64):
    """Replies of three markets in every round, their weights, and their average."""
    for number in range(rounds):
        updates = make_updates(100 + number, 3, dtype)
        weights = [1.0 + number, 2.0, 5.0]
        yield updates, weights, weighted_average(updates, relative_weights("interactions", weights))


@pytest.mark.parametrize("kind", ["adam", "yogi"])
@pytest.mark.parametrize("changes", [{}, {"beta_1": 0.0, "learning_rate": 1.0}, {"beta_2": 0.0}, {"tau": 10.0}])
def test_five_rounds_are_flowers_own(kind, changes):
    """Flower's strategy gets the replies, ours their average; both go on from their own last result."""
    settings_ = configured(kind, **changes)
    flower = FLOWER[kind](
        eta=settings_.learning_rate, beta_1=settings_.beta_1, beta_2=settings_.beta_2, tau=settings_.tau
    )
    ours = ServerOptimiser(settings_)
    current = make_updates(1, 1, np.float64)[0]
    flower.current_arrays = dict(current)
    for number, (updates, weights, average) in enumerate(aggregates(5), start=1):
        record, _ = flower.aggregate_train(number, flower_replies(updates, weights))
        flower.current_arrays = numpy_arrays(record)
        current = ours.step(current, average)
        assert set(current) == set(flower.current_arrays)
        for name, value in flower.current_arrays.items():
            np.testing.assert_allclose(current[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["adam", "yogi"])
def test_the_first_step_by_hand(kind):
    """m = (1 - b1) d, v = (1 - b2) d^2 for both kinds (yogi: 0 - (1 - b2) sign(0 - d^2) d^2).

    d = -2, b1 = .8, b2 = .95: m = -.4, v = .2. Adam's rate is multiplied by
    sqrt(1 - .95^2) / (1 - .8^2) = .312250 / .36 = .867361.
    """
    step = ServerOptimiser(configured(kind)).step({"x": np.array([10.0])}, {"x": np.array([8.0])})
    rate = 0.05 * (0.8673609 if kind == "adam" else 1.0)
    assert step["x"] == pytest.approx([10 - rate * 0.4 / (0.4472136 + 0.01)], rel=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["adam", "yogi"]))
def test_a_step_goes_towards_the_first_aggregate_and_stays_where_it_agrees(seed, kind):
    """Without momentum yet, every number moves in the direction of its change; without a change none moves."""
    current, aggregate = make_updates(seed, 2)
    step = ServerOptimiser(configured(kind)).step(current, aggregate)
    for name in SHAPES:
        assert step[name].dtype == np.float32
        assert step[name].shape == SHAPES[name]
        assert ((step[name] - current[name]) * (aggregate[name] - current[name]) >= 0).all()
    still = ServerOptimiser(configured(kind)).step(current, current)
    assert all(np.array_equal(still[name], current[name]) for name in SHAPES)


def test_none_takes_the_aggregate_and_remembers_nothing():
    current, aggregate = make_updates(1, 2)
    optimiser = ServerOptimiser(configured("none"))
    before = optimiser.state()
    step = optimiser.step(current, aggregate)
    assert all(step[name].tobytes() == aggregate[name].tobytes() for name in SHAPES)
    assert optimiser.state() == before


@pytest.mark.parametrize("kind", ["none", "adam", "yogi"])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_going_on_from_a_saved_state_changes_nothing(kind, stop):
    """Five rounds, and the same five with another process from round ``stop`` on, are the same bytes.

    The saved state is what it was then, whatever happens to the optimiser that gave it.
    """
    optimiser = ServerOptimiser(configured(kind))
    current = make_updates(1, 1, np.float32)[0]
    results, state = [], None
    for number, (_, _, average) in enumerate(aggregates(5, np.float32)):
        if number == stop:
            state, resumed = optimiser.state(), dict(current)
        current = optimiser.step(current, average)
        results.append(current)
    other = ServerOptimiser(configured(kind))
    other.restore(state)
    for number, (_, _, average) in enumerate(aggregates(5, np.float32)):
        if number >= stop:
            resumed = other.step(resumed, average)
            assert all(resumed[name].tobytes() == results[number][name].tobytes() for name in SHAPES)


def test_inputs_are_left_as_they_were():
    current, aggregate = make_updates(2, 2)
    ServerOptimiser(configured("adam")).step(current, aggregate)
    for arrays, copy in zip((current, aggregate), make_updates(2, 2), strict=True):
        assert all(np.array_equal(arrays[name], copy[name]) for name in SHAPES)


def test_scalars_stay_arrays():
    """A number alone is an array of no dimensions: Flower's records take nothing else."""
    step = ServerOptimiser(configured("adam")).step(*make_updates(2, 2))
    assert [type(value) for value in step.values()] == [np.ndarray] * len(SHAPES)
