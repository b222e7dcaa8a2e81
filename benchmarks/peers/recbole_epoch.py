"""Epochs of RecBole's SASRec on one market."""

import logging
import tempfile
from pathlib import Path

import recbole
import torch
from common import Clock, arguments, told
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

histories, epochs, sizes = arguments()
(users,) = histories.values()
logging.disable(logging.CRITICAL)
with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch) / "market"
    folder.mkdir()
    lines = [f"{user}\t{item}\t{place}" for user, items in enumerate(users) for place, item in enumerate(items)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "market.inter").write_text("\n".join([header, *lines]) + "\n")
    config = Config(
        model="SASRec",
        dataset="market",
        config_dict={
            "data_path": scratch,
            "checkpoint_dir": scratch,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "n_layers": sizes["layers"],
            "n_heads": sizes["heads"],
            "hidden_size": sizes["dimension"],
            "inner_size": sizes["dimension"],
            "MAX_ITEM_LIST_LENGTH": sizes["length"],
            "loss_type": "CE",
            "train_neg_sample_args": None,
            "train_batch_size": sizes["batch"],
            "learning_rate": sizes["rate"],
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
            "use_gpu": False,
            "show_progress": False,
            "epochs": epochs,
        },
    )
    init_seed(0, True)
    dataset = create_dataset(config)
    loader, _, _ = data_preparation(config, dataset)
    trainer, clock = Trainer(config, SASRec(config, loader.dataset)), Clock()
    for epoch in range(epochs):
        trainer._train_epoch(loader, epoch)
        clock.tick()
told(clock.seconds, recbole=recbole.__version__, torch=torch.__version__)
