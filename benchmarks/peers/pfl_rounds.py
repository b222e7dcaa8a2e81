"""Rounds of pfl-research's FedAvg in one process: one SASRec, every market a user of theirs."""

from importlib.metadata import version

import numpy as np
import torch
from common import Clock, SasRec, arguments, batches, told
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel

histories, rounds, sizes = arguments()
markets = list(histories.values())
items = max(item for users in markets for history in users for item in history)


class Model(SasRec):
    def loss(self, histories: torch.Tensor, eval: bool = False) -> torch.Tensor:
        self.train(not eval)
        return self(histories)

    def metrics(self, histories: torch.Tensor) -> dict:
        return {"loss": Weighted(float(self.loss(histories, eval=True).detach()), 1)}


def padded(users: list[list[int]]) -> torch.Tensor:
    (whole,) = batches(users, {**sizes, "batch": len(users)}, np.random.default_rng(0))
    return whole


class Ticks(TrainingProcessCallback):
    def after_central_iteration(self, aggregate_metrics: object, model: object, *, central_iteration: int) -> tuple:
        clock.tick()
        return False, Metrics()


tables = [Dataset((padded(users),)) for users in markets]
module = Model(items, sizes)
model = PyTorchModel(
    module, local_optimizer_create=torch.optim.AdamW, central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0)
)
data = FederatedDataset(lambda index: tables[index], get_user_sampler("minimize_reuse", range(len(markets))))
training = NNTrainHyperParams(local_num_epochs=1, local_learning_rate=sizes["rate"], local_batch_size=sizes["batch"])
settings = NNAlgorithmParams(
    central_num_iterations=rounds, evaluation_frequency=10**6, train_cohort_size=len(markets), val_cohort_size=1
)
backend = SimulatedBackend(training_data=data, val_data=data, postprocessors=[])
clock = Clock()
FederatedAveraging().run(
    settings, backend, model, training, NNEvalHyperParams(local_batch_size=sizes["batch"]), callbacks=[Ticks()]
)
told(clock.seconds, pfl=version("pfl"), torch=torch.__version__)
