"""Flower's own strategies behind the adapter give what they give alone, and what ours of the same name give."""

from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import strategy as flower

from fedrec.aggregators.flower import FlowerSettings, FlowerStrategy
from fedrec.components import find
from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from tests.aggregators.updates import as_updates, built, make_arrays
from tests.strategies.flower import flower_replies, numpy_arrays

ENOUGH = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}
WEIGHTS = [0.1, 0.2, 0.3, 0.15, 0.25]
OPTIONS = {
    "FedAvg": {},
    "FedAvgM": {"server_momentum": 0.8, "server_learning_rate": 0.5},
    "FedAdam": {"eta": 0.05},
    "FedYogi": {},
    "FedAdagrad": {},
    "FedMedian": {},
    "FedTrimmedAvg": {"beta": 0.25},
    "Krum": {"num_malicious_nodes": 1},
    "MultiKrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 2},
    "Bulyan": {"num_malicious_nodes": 0},
}


def test_all_that_a_recipe_can_name_are_tried_here():
    assert set(FlowerSettings.model_fields["strategy"].annotation.__args__) == set(OPTIONS)


_SLOW = {"Bulyan"}  # it compares every pair of updates number by number


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name for name in sorted(OPTIONS)]
)
def test_four_rounds_are_those_of_the_strategy_alone(name):
    """One object of Flower's that lives through all rounds, and ours, which is made anew in each."""
    alone = getattr(flower, name)(**ENOUGH, **OPTIONS[name])
    ours, state = built("flower", strategy=name, options=OPTIONS[name]), {}
    current = make_arrays(1, 1)[0]
    record = ArrayRecord({key: Array(value) for key, value in sorted(current.items())})
    grid = SimpleNamespace(get_node_ids=lambda: range(1, 6))
    for number in range(1, 5):
        arrays = make_arrays(10 + number, 5)
        alone.configure_train(number, record, ConfigRecord(), grid)
        ordered = [dict(sorted(one.items())) for one in arrays]
        record, _ = alone.aggregate_train(number, flower_replies(ordered, [w * 1e6 for w in WEIGHTS]))
        current, state = ours.apply(current, as_updates(arrays, WEIGHTS), state)
        for key, value in numpy_arrays(record).items():
            np.testing.assert_array_equal(current[key], np.asarray(value, current[key].dtype))
        record = ArrayRecord({key: Array(current[key]) for key in sorted(current)})  # what the markets are sent


@pytest.mark.parametrize(
    ("name", "kind", "options", "settings"),
    [
        ("FedAvg", "mean", {}, {}),
        ("FedMedian", "median", {}, {}),
        ("FedTrimmedAvg", "trimmed_mean", {"beta": 0.25}, {"trim": 0.25}),
        ("FedYogi", "fedyogi", {"eta": 0.05}, {"learning_rate": 0.05}),
        ("FedAvgM", "fedavgm", {"server_momentum": 0.9}, {}),
    ],
)
def test_ours_of_the_same_name_agree(name, kind, options, settings):
    theirs, ours = built("flower", strategy=name, options=options), built(kind, **settings)
    here = there = make_arrays(1, 1, np.float64)[0]
    mine, yours = {}, {}
    for number in range(3):
        updates = as_updates(make_arrays(20 + number, 5, np.float64), WEIGHTS)
        here, mine = ours.apply(here, updates, mine)
        there, yours = theirs.apply(there, updates, yours)
        for key in here:
            np.testing.assert_allclose(here[key], there[key], rtol=1e-6, atol=1e-9)


class OnlyTheFirst(flower.FedAvg):
    """A user's own: a weighted mean of all rounds so far, kept in an attribute."""

    def __init__(self, keep):
        super().__init__(min_available_nodes=50)  # never waited for
        self.keep = keep
        self.mean = None

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        now = {name: array.numpy() for name, array in arrays.items()}
        before = now if self.mean is None else self.mean
        self.mean = {name: self.keep * before[name] + (1 - self.keep) * value for name, value in now.items()}
        return ArrayRecord({name: Array(value) for name, value in self.mean.items()}), metrics


class OnlyTheFirstAggregator(FlowerStrategy):
    Settings = find("aggregator", "mean").Settings

    def strategy(self):
        return OnlyTheFirst(keep=0.75)


def test_a_strategy_of_ones_own_keeps_what_it_remembers():
    """x0 = a, x1 = .75 a + .25 b, x2 = .75 x1 + .25 c."""
    ours, state, current = OnlyTheFirstAggregator(None), {}, {"x": np.array([0.0])}
    expected = None
    for value in (4.0, 8.0, 0.0):
        current, state = ours.apply(current, as_updates([{"x": np.array([value])}]), state)
        expected = value if expected is None else 0.75 * expected + 0.25 * value
        assert current["x"] == pytest.approx([expected])
    assert set(state) == {"mean/x", "round"}


def test_wrong_options_are_said_before_the_run():
    with pytest.raises(UserError, match=r"aggregator.options: FedAvg takes them not .*server_momentum"):
        load_recipe("fecosr", ["aggregator.kind=flower", "aggregator.options={server_momentum: 0.9}"])
    with pytest.raises(UserError, match=r"aggregator.strategy = 'FedAvgg'"):
        load_recipe("fecosr", ["aggregator.kind=flower", "aggregator.strategy=FedAvgg"])
