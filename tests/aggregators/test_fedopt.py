"""Server optimisers against Flower's own, and by hand."""

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.exchange.weights import relative_weights
from tests.aggregators.updates import SHAPES, as_updates, built, make_arrays
from tests.strategies.flower import flower_replies, numpy_arrays

FLOWER = {"fedadam": FedAdam, "fedyogi": FedYogi, "fedadagrad": FedAdagrad}
ADAPTIVE = {"learning_rate": 0.05, "tau": 1e-2}
MOMENTS = {**ADAPTIVE, "beta_1": 0.8, "beta_2": 0.95}
SETTINGS = {"fedadam": MOMENTS, "fedyogi": MOMENTS, "fedadagrad": ADAPTIVE, "fedavgm": {"momentum": 0.7}}


def rounds(count, dtype=np.float64):
    """Replies of three markets in every round and their weights."""
    for number in range(count):
        yield make_arrays(100 + number, 3, dtype), [1.0 + number, 2.0, 5.0]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *((kind, {}) for kind in FLOWER),
        ("fedadam", {"beta_1": 0.0, "learning_rate": 1.0}),
        ("fedyogi", {"beta_2": 0.0}),
        ("fedadagrad", {"tau": 10.0}),
    ],
)
def test_five_rounds_are_flowers_own(kind, changes):
    """Both get the replies, and both go on from their own last result."""
    values = {**SETTINGS[kind], **changes}
    named = {"eta" if name == "learning_rate" else name: value for name, value in values.items()}
    flower, ours, state = FLOWER[kind](**named), built(kind, **values), {}
    current = make_arrays(1, 1, np.float64)[0]
    flower.current_arrays = dict(current)
    for number, (arrays, weights) in enumerate(rounds(5), start=1):
        record, _ = flower.aggregate_train(number, flower_replies(arrays, weights))
        flower.current_arrays = numpy_arrays(record)
        updates = as_updates(arrays, relative_weights("interactions", weights))
        current, state = ours.apply(current, updates, state)
        assert set(current) == set(flower.current_arrays)
        for name, value in flower.current_arrays.items():
            np.testing.assert_allclose(current[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rate", "momentum"), [(1.0, 0.9), (0.3, 0.5), (0.5, 0.0)])
def test_momentum_is_flowers_own(rate, momentum):
    flower = FedAvgM(server_learning_rate=rate, server_momentum=momentum)
    ours, state = built("fedavgm", learning_rate=rate, momentum=momentum), {}
    current = {name: value for name, value in make_arrays(1, 1, np.float64)[0].items() if value.size}
    flower.current_arrays = flower_replies([current], [1.0])[0].content["arrays"]
    for number, (arrays, weights) in enumerate(rounds(4), start=1):
        some = [{name: one[name] for name in current} for one in arrays]
        record, _ = flower.aggregate_train(number, flower_replies(some, weights))
        current, state = ours.apply(current, as_updates(some, relative_weights("interactions", weights)), state)
        for name, value in numpy_arrays(record).items():
            np.testing.assert_allclose(current[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["fedadam", "fedyogi"])
def test_the_first_step_by_hand(kind):
    """m = (1 - b1) d, v = (1 - b2) d^2 for both kinds (yogi: 0 - (1 - b2) sign(0 - d^2) d^2).

    d = -2, b1 = .8, b2 = .95: m = -.4, v = .2. Adam's rate is multiplied by
    sqrt(1 - .95^2) / (1 - .8^2) = .312250 / .36 = .867361.
    """
    step, _ = built(kind, **MOMENTS).apply({"x": np.array([10.0])}, as_updates([{"x": np.array([8.0])}]), {})
    rate = 0.05 * (0.8673609 if kind == "fedadam" else 1.0)
    assert step["x"] == pytest.approx([10 - rate * 0.4 / (0.4472136 + 0.01)], rel=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(SETTINGS)))
def test_a_step_goes_towards_the_first_mean_and_stays_where_it_agrees(seed, kind):
    """Without momentum yet, every number moves in the direction of its change; without a change none moves."""
    current, mean = make_arrays(seed, 2)
    step, _ = built(kind, **SETTINGS[kind]).apply(current, as_updates([mean]), {})
    for name in SHAPES:
        assert ((step[name] - current[name]) * (mean[name] - current[name]) >= 0).all()
    still, _ = built(kind, **SETTINGS[kind]).apply(current, as_updates([current]), {})
    assert all(np.array_equal(still[name], current[name]) for name in SHAPES)
