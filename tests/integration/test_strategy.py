"""The strategy under Flower's own loop, against local training done by hand."""

from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord

from fedrec.clients.app import app
from fedrec.data.store import open_stores
from fedrec.recipe import recipe_json
from fedrec.simulation.inline import InlineGrid
from fedrec.strategies.records import array_record
from fedrec.strategies.shared_average import SharedAverage
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer
from tests.integration.harness import node_configs, quick


def test_flowers_own_loop_gives_the_weighted_mean_of_local_training(synthetic: Path, tmp_path: Path) -> None:
    """Two rounds by hand: every market trains from the same parameters, then sum_m n_m w_m / sum_m n_m in float64."""
    recipe = quick("evaluation.protocol=temporal", "semantics.kind=hashing", "codes.alignment=layered")
    stores = open_stores(synthetic)
    trainers = [SequentialTrainer.alone(recipe, PreparedMarket(store, recipe)) for store in stores]
    initial = trainers[0].model.shared_state()
    shared = initial
    for server_round in (1, 2):
        total = {name: np.zeros(value.shape) for name, value in shared.items()}
        for trainer in trainers:
            trainer.load(shared)
            trainer.pretrain_round(server_round)
            for name, value in trainer.model.shared_state().items():
                total[name] += len(trainer.market.train.items) * value.numpy().astype(np.float64)
        count = sum(len(trainer.market.train.items) for trainer in trainers)
        shared = {name: initial[name].new_tensor(value / count) for name, value in total.items()}

    grid = InlineGrid(app, node_configs(stores, tmp_path))
    node_of = dict(zip([store.name for store in stores], grid.get_node_ids(), strict=True))
    strategy = SharedAverage(node_of, recipe)

    config = ConfigRecord({"run": "run", "recipe": recipe_json(recipe), "round": "0"})
    arrays = array_record({name: value.numpy() for name, value in initial.items()})
    for server_round in (1, 2):
        config["round"] = str(server_round)
        replies = grid.send_and_receive(strategy.configure_train(server_round, arrays, config, grid))
        averaged, metrics = strategy.aggregate_train(server_round, replies)
        assert averaged is not None
        assert metrics is not None
        arrays = averaged
    for name, value in shared.items():
        np.testing.assert_allclose(arrays[name].numpy(), value.numpy(), rtol=0, atol=1e-6)
