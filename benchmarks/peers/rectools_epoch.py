"""Epochs of RecTools' SASRec on one market."""

import warnings

import pandas as pd
import pytorch_lightning as pl
import rectools
import torch
from common import Clock, arguments, told
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")
histories, epochs, sizes = arguments()
(users,) = histories.values()
rows = [(user, item, 1.0, place) for user, items in enumerate(users) for place, item in enumerate(items)]
frame = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Weight, Columns.Datetime])
frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
clock = Clock()


class Ticks(pl.Callback):
    def on_train_epoch_start(self, *_: object) -> None:
        if self.first:
            self.first = False
            clock.__init__()

    first = True

    def on_train_epoch_end(self, *_: object) -> None:
        clock.tick()


def trainer() -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Ticks()],
    )


model = SASRecModel(
    n_blocks=sizes["layers"],
    n_heads=sizes["heads"],
    n_factors=sizes["dimension"],
    dropout_rate=sizes["dropout"],
    session_max_len=sizes["length"],
    loss="softmax",
    batch_size=sizes["batch"],
    lr=sizes["rate"],
    get_trainer_func=trainer,
)
model.fit(Dataset.construct(frame))
told(clock.seconds, rectools=rectools.__version__, torch=torch.__version__)
