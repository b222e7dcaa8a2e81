"""Training and judging pointwise models on the markets of one machine: the protocol of ACMR's table.

Every positive comes with freshly drawn negatives, items that its user did not train on; the history that a model reads
keeps the target, and patience never starts again: both as the authors have it. What differs from them: a batch holds
one market's users, negatives are drawn anew in every epoch instead of once, another market's held-out items are not
trained on, validation chooses by NDCG@10 instead of @5, and the history of a test includes the validation item.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.batches import pad
from fedrec.data.sequences import Sequences
from fedrec.data.splits import Holdout, Split
from fedrec.errors import RunError
from fedrec.metrics.ranking import ndcg, target_ranks
from fedrec.models.pointwise.interface import PointwiseModel, Request, Sizes
from fedrec.progress import Progress, no_progress
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.stopping import EarlyStopping

_SCORED = 2_000  # candidates scored at a time; more do not fit the caches of a CPU where each has a history of its own
_POOL = 4096  # rows that are sorted by the length of their histories together, so that little padding is computed
State = dict[str, Tensor]
Evaluate = Callable[[PointwiseModel], float]


@dataclass(frozen=True)
class Settings:
    """How pointwise models are trained; the values are those of ACMR's authors."""

    negatives: int = 4
    batch_size: int = 1024  # pairs
    learning_rate: float = 1e-3
    weight_decay: float = 1e-7
    epochs: int = 50
    patience: int = 3  # epochs without better validation in all, not in a row


@dataclass(frozen=True)
class PointwiseMarket:
    """One market among those that a model knows; its items are numbered over the union of all catalogues."""

    name: str
    index: int  # of the market
    first_user: int  # number of its first user among those of all markets
    split: Split
    maximum_length: int = Sizes.maximum_length  # of a history; a longer one keeps its latest items

    def request(
        self, sequences: Sequences, rows: NDArray[np.int64], users: NDArray[np.int64], items: Tensor
    ) -> Request:
        """Ask about ``items`` [B, C] for ``users`` [B] of the market, whose histories are ``rows`` of ``sequences``."""
        batch = pad(sequences, rows, self.maximum_length)
        return Request(
            self.index,
            torch.from_numpy(users + self.first_user),
            torch.from_numpy(batch.items),
            torch.from_numpy(batch.lengths),
            items,
        )


@dataclass(frozen=True)
class Labelled:
    """A training batch: what is asked, what is true, and which answers count (the rest pads)."""

    request: Request
    labels: Tensor  # [B, C]
    counted: Tensor  # [B, C]

    def to(self, device: torch.device) -> "Labelled":
        """The same on a device."""
        return Labelled(self.request.to(device), self.labels.to(device), self.counted.to(device))


@dataclass(frozen=True)
class Fitted:
    """The best state of a model for one market, and what chose it."""

    state: State
    validation: float  # NDCG@10
    epochs: int  # until that state


def draw_negatives(
    train: Sequences, rows: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """For each of ``rows`` [B] of ``train``, ``count`` items of the catalogue that it does not hold, [B, count].

    Raises :class:`RunError` where a user holds all of it.
    """
    known = train.distinct
    if np.bincount(known // train.item_count).max() == train.item_count:
        raise RunError("a user has every item of the catalogue: there are no negatives to draw")
    drawn = generator.integers(train.item_count, size=(len(rows), count))
    while True:
        keys = rows[:, None] * train.item_count + drawn
        place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        clash = known[place] == keys
        if not clash.any():
            return drawn
        drawn[clash] = generator.integers(train.item_count, size=int(clash.sum()))


def labelled_batches(
    market: PointwiseMarket, settings: Settings, per_row: int, generator: np.random.Generator
) -> Iterator[Labelled]:
    """One pass over a market's train items in random order, ``per_row`` or fewer positives of a user to a row."""
    train = market.split.train
    order = np.lexsort((generator.random(len(train.items)), train.users))  # each user's items in random order
    place = np.arange(len(order)) - train.offsets[train.users]  # within the user
    starts = np.flatnonzero(place % per_row == 0)  # the first positive of every row
    ends = np.minimum(starts + per_row, train.offsets[train.users[starts] + 1])
    starts_in = generator.permutation(len(starts))
    size = max(1, settings.batch_size // ((1 + settings.negatives) * per_row))
    batches: list[NDArray[np.int64]] = []
    for first in range(0, len(starts_in), _POOL):
        pool = starts_in[first : first + _POOL]
        pool = pool[np.argsort(train.lengths[train.users[starts[pool]]], kind="stable")]
        batches += [pool[begin : begin + size] for begin in range(0, len(pool), size)]
    for index in generator.permutation(len(batches)):
        chosen = batches[index]
        rows = train.users[starts[chosen]]  # [B]
        counts = (ends - starts)[chosen]
        place = np.arange(counts.max())
        counted = place < counts[:, None]  # [B, P]
        source = np.where(counted, starts[chosen][:, None] + place, starts[chosen][:, None])
        positives = train.items[order[source]]  # [B, P]
        negatives = draw_negatives(train, rows, len(place) * settings.negatives, generator)  # [B, P * n]
        items = np.concatenate([positives, negatives], axis=1)
        labels = np.concatenate([np.ones_like(positives), np.zeros_like(negatives)], axis=1)
        whole = np.concatenate([counted, np.repeat(counted, settings.negatives, axis=1)], axis=1)
        users = market.split.learners[rows]
        yield Labelled(
            market.request(train, rows, users, torch.from_numpy(items)),
            torch.from_numpy(labels).float(),
            torch.from_numpy(whole),
        )


def candidate_ranks(model: PointwiseModel, market: PointwiseMarket, holdout: Holdout) -> NDArray[np.float64]:
    """Rank of every user's target among its candidates [U], counted from zero; NaN-safe as in metrics.ranking."""
    if holdout.candidates is None:
        raise ValueError("pointwise models are evaluated among candidates")
    asked = np.column_stack([holdout.candidates, holdout.targets])  # [U, C + 1]
    scores = candidate_scores(model, market, holdout, np.arange(len(holdout)), asked)
    return target_ranks(scores, np.full(len(asked), asked.shape[1] - 1))


@torch.inference_mode()
def candidate_scores(
    model: PointwiseModel,
    market: PointwiseMarket,
    holdout: Holdout,
    chosen: NDArray[np.int64],
    items: NDArray[np.int64],
    rows: Tensor | None = None,
) -> NDArray[np.float32]:
    """Scores of ``items`` [B, C] for ``chosen`` [B] of the holdout's users; ``rows`` as in :meth:`Request.placed`."""
    model.eval()
    device = next(model.parameters()).device
    scores = np.empty(items.shape, np.float32)
    order = np.argsort(holdout.histories.lengths[chosen], kind="stable")
    size = max(1, _SCORED // items.shape[1])
    for first in range(0, len(order), size):
        block = order[first : first + size]
        users = holdout.users[chosen[block]]
        request = market.request(holdout.histories, chosen[block], users, torch.from_numpy(items[block]))
        asked = (request if rows is None else request.placed(rows)).to(device)
        scores[block] = model.logits(asked).cpu().numpy()
    return scores


def validation(market: PointwiseMarket) -> Evaluate:
    """NDCG@10 on the market's validation users."""
    return lambda model: float(ndcg(candidate_ranks(model, market, market.split.validation), 10).mean())


def fit(
    model: PointwiseModel,
    trained: Sequence[PointwiseMarket],
    evaluations: Sequence[Evaluate],
    settings: Settings,
    seed: int,
    purpose: str,
    per_row: int = 1,
    progress: Progress = no_progress,
) -> list[Fitted]:
    """Train on all of ``trained`` together; for every evaluation, the state it liked best.

    Ends when no evaluation has patience left. The untrained model does not compete. ``purpose`` seeds the order of
    examples; ``progress`` hears of every epoch.
    """
    watches = [EarlyStopping[State](settings.patience, in_all=True) for _ in evaluations]
    waiting = set(range(len(evaluations)))
    optimiser = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,  # the tables are dense, so most of a step is the optimiser's
    )
    with seeded_torch(seed, purpose):
        for epoch in range(settings.epochs):
            model.train()
            for batch in _epoch(trained, settings, per_row, seed, purpose, epoch):
                optimiser.zero_grad(set_to_none=True)
                model.loss(batch.request, batch.labels, batch.counted).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            for index in sorted(waiting):
                score = evaluations[index](model)
                better = score > watches[index].score
                kept = copy.deepcopy(model.state_dict()) if better else {}
                if watches[index].offer(score, kept):
                    waiting.discard(index)
            best = sum(watch.score for watch in watches) / len(watches)
            progress(
                f"{purpose}: epoch {epoch + 1}, best validation {best:.4f}, {len(waiting)} of {len(evaluations)} go on"
            )
            if not waiting:
                break
    return [Fitted(watch.best or {}, watch.score, watch.best_index + 1) for watch in watches]


def _epoch(
    markets: Sequence[PointwiseMarket], settings: Settings, per_row: int, seed: int, purpose: str, epoch: int
) -> Iterator[Labelled]:
    """The batches of all markets, shuffled together; few are held at a time."""
    streams = [
        labelled_batches(market, settings, per_row, numpy_generator(seed, purpose, epoch, market.name))
        for market in markets
    ]
    size = settings.batch_size / (1 + settings.negatives)
    shares = np.array([len(market.split.train.items) / size for market in markets])
    generator = numpy_generator(seed, purpose, epoch)
    open_streams = list(range(len(streams)))
    while open_streams:
        weights = shares[open_streams] / shares[open_streams].sum()
        index = int(generator.choice(open_streams, p=weights))
        batch = next(streams[index], None)
        if batch is None:
            open_streams.remove(index)
        else:
            yield batch
