"""What the scripts of all peers share: the histories, and a small SASRec that the federated ones train.

Runs in a peer's own environment, where fedrec is not: torch and numpy are all it needs. A file of histories is a JSON
object, market to a list of users, each a list of item numbers from 1 on.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SIZES = {"dimension": 64, "layers": 2, "heads": 2, "length": 50, "batch": 128, "dropout": 0.2, "rate": 0.002}


def arguments() -> tuple[dict, int, dict]:
    """The histories, how many epochs or rounds, and the sizes; one thread from here on."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    histories = json.loads(Path(sys.argv[1]).read_text())
    return histories, int(sys.argv[2]), {**SIZES, **json.loads(sys.argv[3])}


def told(seconds: list[float], **versions: str) -> None:
    """Say how long each epoch or round took, and which versions did it."""
    print(json.dumps({"seconds": seconds, "versions": versions}))


class SasRec(nn.Module):
    """Kang and McAuley, ICDM 2018; the output shares the items' embeddings."""

    def __init__(self, items: int, sizes: dict) -> None:
        super().__init__()
        width = sizes["dimension"]
        self.item = nn.Embedding(items + 1, width, padding_idx=0)
        self.position = nn.Embedding(sizes["length"], width)
        layer = nn.TransformerEncoderLayer(
            width, sizes["heads"], width, sizes["dropout"], batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, sizes["layers"], enable_nested_tensor=False)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of every next item of right-padded histories [B, L]."""
        given, wanted = items[:, :-1], items[:, 1:]
        length = given.shape[1]
        x = self.item(given) + self.position(torch.arange(length))
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        states = self.encoder(x, mask=hidden)
        valid = wanted > 0
        return F.cross_entropy(states[valid] @ self.item.weight.T, wanted[valid])


def batches(users: list[list[int]], sizes: dict, generator: np.random.Generator) -> list[torch.Tensor]:
    """Histories of one market, in random order, right padded."""
    order = generator.permutation(len(users))
    result = []
    for start in range(0, len(order), sizes["batch"]):
        rows = [users[index][-sizes["length"] - 1 :] for index in order[start : start + sizes["batch"]]]
        width = max(map(len, rows))
        result.append(torch.tensor([row + [0] * (width - len(row)) for row in rows]))
    return result


def train(model: nn.Module, users: list[list[int]], sizes: dict, generator: np.random.Generator) -> None:
    """One epoch with a fresh optimiser, as a client of a round has it."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=sizes["rate"])
    for items in batches(users, sizes, generator):
        optimiser.zero_grad()
        model(items).backward()
        optimiser.step()


class Clock:
    """Seconds between ticks."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = time.perf_counter()

    def tick(self) -> None:
        """One more epoch or round is over."""
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
