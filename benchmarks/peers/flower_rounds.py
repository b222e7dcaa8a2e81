"""Rounds of plain Flower's FedAvg in its own simulation engine, on Ray: one SASRec, every market a client."""

import logging
import os
import time

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
import flwr
import numpy as np
import torch
from common import Clock, SasRec, arguments, told, train
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

logging.disable(logging.CRITICAL)
histories, rounds, sizes = arguments()
markets = list(histories.values())
items = max(item for users in markets for history in users for item in history)
client, server, clock = ClientApp(), ServerApp(), Clock()


@client.train()
def fit(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    users = markets[int(context.node_config["partition-id"])]
    model = SasRec(items, sizes)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    train(model, users, sizes, np.random.default_rng(0))
    metrics = MetricRecord({"num-examples": sum(map(len, users))})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


class Timed(FedAvg):
    def aggregate_train(self, *args: object) -> object:
        result = super().aggregate_train(*args)
        clock.tick()
        return result


@server.main()
def main(grid: Grid, context: Context) -> None:
    while len(list(grid.get_node_ids())) < len(markets):
        time.sleep(0.1)
    strategy = Timed(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=len(markets))
    clock.__init__()
    strategy.start(grid=grid, initial_arrays=ArrayRecord(SasRec(items, sizes).state_dict()), num_rounds=rounds)


run_simulation(server, client, len(markets), backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0}})
told(clock.seconds, flwr=flwr.__version__, torch=torch.__version__)
