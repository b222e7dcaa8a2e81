"""Epochs of our sequential model on one market; runs in fedrec's own environment, on the market store itself."""

import json
import sys
from pathlib import Path

import torch
from common import SIZES, Clock, told

import fedrec
from fedrec.data.store import open_store
from fedrec.recipe import load_recipe
from fedrec.threads import single_threaded
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer


def overrides(sizes: dict) -> list[str]:
    """The sizes as a recipe has them."""
    return [
        f"model.dimension={sizes['dimension']}",
        f"model.maximum_length={sizes['length']}",
        f"model.dropout={sizes['dropout']}",
        f"encoder={{kind: transformer, layers: {sizes['layers']}, heads: {sizes['heads']}}}",
        f"training.batch_size={sizes['batch']}",
        f"training.learning_rate={sizes['rate']}",
        "semantics.kind=hashing",
        "evaluation.protocol=temporal",
        "training.device=cpu",
        "loss={kind: ce}",
    ]


if __name__ == "__main__":
    folder, epochs, sizes = Path(sys.argv[1]), int(sys.argv[2]), {**SIZES, **json.loads(sys.argv[3])}
    market = PreparedMarket(open_store(folder), load_recipe("fecosr", overrides(sizes)))
    with single_threaded():
        trainer = SequentialTrainer.alone(market.recipe, market)
        clock = Clock()
        for number in range(1, epochs + 1):
            trainer.pretrain_round(number)
            clock.tick()
    told(clock.seconds, fedrec=fedrec.__version__, torch=torch.__version__)
