"""Collaborative vectors of one market: trained on its own rows alone, then frozen. They never leave the market."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.data.sequences import Sequences
from fedrec.models.factorisation import Factorisation, bipartite_adjacency, bpr_loss
from fedrec.recipe import CollaborativeSettings
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.training.loop import last_states
from fedrec.training.sequential import SequentialTrainer

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class CollaborativeVectors:
    """Vectors of U users and I items; a row without any interaction is zero and not known."""

    users: NDArray[np.float32]  # [U, d]
    items: NDArray[np.float32]  # [I, d]
    known_users: NDArray[np.bool_]  # [U]
    known_items: NDArray[np.bool_]  # [I]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As they are kept on disk."""
        return {
            "users": self.users,
            "items": self.items,
            "known_users": self.known_users,
            "known_items": self.known_items,
        }

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "CollaborativeVectors":
        """The way back."""
        users, items = (np.asarray(arrays[name], np.float32) for name in ("users", "items"))
        return cls(users, items, *(np.asarray(arrays[f"known_{name}"], np.bool_) for name in ("users", "items")))

    @classmethod
    def of(cls, rows: Sequences, users: NDArray[np.float32], items: NDArray[np.float32]) -> "CollaborativeVectors":
        """Of vectors trained on ``rows``."""
        known_users, known_items = rows.lengths > 0, rows.item_counts() > 0
        return cls(users * known_users[:, None], items * known_items[:, None], known_users, known_items)


def factorise(
    rows: Sequences, settings: CollaborativeSettings, seed: int, market: str, device: torch.device = _CPU
) -> tuple[CollaborativeVectors, float]:
    """Train on ``rows`` by BPR; the vectors and the last epoch's loss.

    One negative a positive and epoch, drawn by popularity: what is learned is taste beyond what sells, and popularity
    is known anyway. A negative may be an item that the user interacted with: at these densities that is rare.
    """
    pairs = np.unique(np.stack([rows.users, rows.items]), axis=1)  # [2, N]
    users, items = torch.from_numpy(pairs).to(device)
    graph = settings.source == "lightgcn"
    adjacency = bipartite_adjacency(users, items, len(rows), rows.item_count) if graph else None
    generator = numpy_generator(seed, market, "collaborative")
    with seeded_torch(seed, market, "collaborative"):
        model = Factorisation(len(rows), rows.item_count, settings.dimension, adjacency, settings.layers).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    loss = 0.0
    for _ in range(settings.epochs):
        order = torch.from_numpy(generator.permutation(len(users))).to(device)
        negatives = items[torch.from_numpy(generator.integers(len(users), size=len(users))).to(device)]
        total = 0.0
        for batch in torch.split(order, settings.batch_size):
            user, item = model()
            value = bpr_loss(user[users[batch]], item[items[batch]], item[negatives[batch]], settings.penalty)
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(value.detach()) * len(batch)
        loss = total / len(users)
    with torch.inference_mode():
        user, item = model()
    return CollaborativeVectors.of(rows, user.cpu().numpy(), item.cpu().numpy()), loss


def sequential_vectors(trainer: SequentialTrainer, epochs: int) -> tuple[CollaborativeVectors, float]:
    """Of the market's own sequential model, identities included: the item table, and the state after each history."""
    loss, rows = trainer.train_everything(epochs), trainer.market.train
    everyone = np.flatnonzero(rows.lengths > 0)
    with torch.inference_mode():
        catalogue = trainer.model.catalogue()
        states = last_states(trainer.model, catalogue, rows, everyone).cpu().numpy()
        items = catalogue.vectors.float().cpu().numpy()
    users = np.zeros((len(rows), states.shape[1]), np.float32)
    users[everyone] = states
    return CollaborativeVectors.of(rows, users, items), loss
