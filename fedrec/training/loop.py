"""The local training loop: the same for a federated round, a market's local baseline, and fine-tuning."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedrec.components.loss import Loss
from fedrec.data.batches import Batch, pad, training_batches
from fedrec.data.sequences import Sequences
from fedrec.models.sequential import Catalogue, SequentialModel
from fedrec.recipe import TrainingSettings
from fedrec.training.device import mixed_precision, on_device

_SCORING_BATCH = 256
_NO_DECAY = ("bias", "norm", "identity", "position")
Example = TypeVar("Example")  # a batch, whatever a model takes
Term = Callable[[Example], Tensor]  # an addition to a batch's loss


@dataclass(frozen=True)
class EpochResult:
    """What one pass over the market's histories did."""

    loss: float  # mean per interaction
    positions: int  # next-item predictions made


@dataclass(frozen=True)
class Anchor:
    """mu / 2 |w - w_0|^2 over the named parameters: FedProx (Li et al., MLSys 2020) in rounds, Ditto in fine-tuning."""

    start: Mapping[str, Tensor]
    mu: float

    def penalty(self, model: nn.Module) -> Tensor:
        """The term to add to the loss."""
        parameters = dict(model.named_parameters())
        squares = [(parameters[name] - start).square().sum() for name, start in self.start.items()]
        return self.mu / 2 * torch.stack(squares).sum()


def make_optimiser(model: nn.Module, training: TrainingSettings, learning_rate: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; norms, biases, positions and identities are not decayed."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (kept if any(part in name for part in _NO_DECAY) else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    on_gpu = any(parameter.is_cuda for parameter in (*decayed, *kept))
    # One kernel for all parameters. Its form for CPUs rounds in another way: figures would move.
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=on_gpu or None)


def batch_loss(model: SequentialModel, batch: Batch, loss: Loss) -> tuple[Tensor, int]:
    """Mean loss over the items that the batch asks for, and how many there are."""
    device = model.semantics.device
    items, lengths = on_device(device, batch.items, batch.lengths)
    with mixed_precision(device, model.precision):
        catalogue = model.catalogue()
        states, targets = model.predictions(catalogue, items, lengths)  # [N, d], [N]
    return loss(model.queries(states.float()), catalogue.keys.float(), targets), len(targets)


def train_epoch(
    model: nn.Module,
    batches: Iterable[Example],
    optimiser: torch.optim.Optimizer,
    loss: Callable[[Example], tuple[Tensor, int]],
    terms: Sequence[Term[Example]] = (),
) -> EpochResult:
    """One optimiser step per batch; ``loss``: a batch's mean and its predictions. The result is without ``terms``."""
    model.train()
    total: Tensor | float = 0.0
    positions = 0
    for batch in batches:
        value, count = loss(batch)
        optimiser.zero_grad(set_to_none=True)
        objective = value
        for term in terms:
            objective = objective + term(batch)
        objective.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += value.detach().double() * count  # stays on the device: to read it is to wait for the step
        positions += count
    return EpochResult(float(total) / max(positions, 1), positions)


def epoch_batches(
    sequences: Sequences, training: TrainingSettings, model: SequentialModel, generator: np.random.Generator
) -> Iterable[Batch]:
    """The batches of one epoch for this model."""
    return training_batches(sequences, training.batch_size, model.maximum_length, generator)


def batch_states(model: SequentialModel, batch: Batch) -> Tensor:
    """The encoder's states [B, d] after the last item but one of every history of a batch, with their gradients."""
    device = model.semantics.device
    with mixed_precision(device, model.precision):
        items, lengths = on_device(device, batch.items[:, :-1], batch.lengths - 1)
        return model.next_states(model.catalogue(), items, lengths).float()


@torch.inference_mode()
def last_states(model: SequentialModel, catalogue: Catalogue, histories: Sequences, users: NDArray[np.int64]) -> Tensor:
    """The encoder's states [B, d] after the histories of ``users`` [B]."""
    model.eval()
    device = model.semantics.device
    with mixed_precision(device, model.precision):
        last = torch.empty(len(users), catalogue.vectors.shape[1], device=device)  # [B, d]
        # Histories of like length are encoded together, so that little padding is computed.
        order = np.argsort(histories.lengths[users], kind="stable")
        for start in range(0, len(users), _SCORING_BATCH):
            rows = order[start : start + _SCORING_BATCH]
            batch = pad(histories, users[rows], model.maximum_length)
            items, lengths = on_device(device, batch.items, batch.lengths)
            last[rows] = model.next_states(catalogue, items, lengths).float()
    return last


@torch.inference_mode()
def model_scores(model: SequentialModel, histories: Sequences, users: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores [B, I] of the next item after the histories of ``users`` [B]."""
    model.eval()
    with mixed_precision(model.semantics.device, model.precision):
        catalogue = model.catalogue()
    last = last_states(model, catalogue, histories, users)  # [B, d]
    scores: NDArray[np.float32] = (model.queries(last) @ catalogue.keys.float().T).cpu().numpy()
    return scores
