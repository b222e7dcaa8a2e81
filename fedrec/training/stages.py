"""The two stages of learning in one market, and the local-only twin that does both alone, whatever the model."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from fedrec.data.splits import Holdout
from fedrec.losses.info_nce import info_nce
from fedrec.models.federated import FederatedModel
from fedrec.recipe import Recipe
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.stopping import EarlyStopping
from fedrec.training.evaluation import Scorer, mean_loss, mean_ndcg
from fedrec.training.loop import Anchor, EpochResult, Term, make_optimiser, train_epoch
from fedrec.training.prepared import PreparedMarket

State = dict[str, Tensor]
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Finished:
    """A model after both stages, on the CPU, with what chose it."""

    state: State
    validation: float  # NDCG@10 on validation users
    epochs: int  # of fine-tuning
    seconds: float


class LocalTrainer(ABC, Generic[Batch]):
    """One model of one market under one recipe."""

    carried: tuple[str, ...] = ()  # prefixes of private parameters that stage one trains and the market carries along

    def __init__(self, recipe: Recipe, market: PreparedMarket, model: FederatedModel) -> None:
        self.recipe = recipe
        self.market = market
        self.model = model
        self.name = market.store.name
        self._first = self.carried_state()

    @abstractmethod
    def scorer(self, holdout: Holdout) -> Scorer:
        """The model's scores after the histories of a stage."""

    @abstractmethod
    def batches(self, generator: np.random.Generator) -> Iterable[Batch]:
        """One pass over the market's train items."""

    @abstractmethod
    def loss(self, batch: Batch, softly: bool) -> tuple[Tensor, int]:
        """Mean loss of a batch, and over how many predictions; ``softly``: as the federation's rounds want it."""

    @abstractmethod
    def states(self, batch: Batch) -> Tensor:
        """What the model makes of each user of a batch, [B, d]."""

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """What the model makes of each item of the market's catalogue, as a direction [I, d]."""

    @property
    def perplexity(self) -> float | None:
        """Over how many items a soft target is spread, where targets are soft."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def load(self, state: State) -> None:
        """Overwrite the named parameters; shapes must fit."""
        self.model.load_state_dict(state, strict=False)

    def carried_state(self) -> State:
        """A copy of the private parameters that stage one trains."""
        return {name: value for name, value in self.state().items() if name.startswith(self.carried)}

    def carry_on(self, state: State | None) -> None:
        """Go on with the private parameters of an earlier round, or where there was none, with the first ones."""
        self.load(self._first if state is None else state)

    def validation(self) -> float:
        """NDCG@10 on validation users."""
        return mean_ndcg(self.scorer(self.market.validation), self.market.validation)

    def validation_loss(self) -> float:
        """Cross-entropy of the validation items among what is ranked, in nats."""
        return mean_loss(self.scorer(self.market.validation), self.market.validation)

    def pretrain_round(self, server_round: int, pace: "Pace | None" = None) -> EpochResult:
        """Stage one: the recipe's local epochs, from the parameters as they are. A fresh optimiser a round.

        Only the shared group moves, and what the market carries along: the rest of it waits for stage two.
        """
        training = self.recipe.training
        self.freeze(private=True, shared=False)
        optimiser = make_optimiser(self.model, training, training.learning_rate * (1.0 if pace is None else pace.step))
        terms: list[Term[Batch]] = [] if pace is None else pace.terms(self)
        if training.proximal:
            anchor = self._anchor()
            terms.append(lambda batch: anchor.penalty(self.model))
        result = EpochResult(0.0, 0)
        with seeded_torch(self.recipe.seed, self.name, "pretrain", server_round):
            for epoch in range(training.epochs):
                result = self._epoch(optimiser, True, ("pretrain", server_round, epoch), terms)
        return result

    def train_everything(self, epochs: int) -> float:
        """Shared and private parameters together, on hard targets, for so many epochs; the last one's loss."""
        self.freeze(private=False, shared=False)
        optimiser = make_optimiser(self.model, self.recipe.training, self.recipe.training.learning_rate)
        with seeded_torch(self.recipe.seed, self.name, "everything"):
            return [self._epoch(optimiser, False, ("everything", epoch)).loss for epoch in range(epochs)][-1]

    def finetune(self) -> Finished:
        """Stage two: hard targets on the market's own items with the adaptation; the best epoch is kept.

        Epoch 0, the model as it came, competes too.
        """
        started = time.perf_counter()
        settings = self.recipe.finetune
        self.freeze(private=False, shared=not settings.train_shared)
        optimiser = make_optimiser(self.model, self.recipe.training, settings.learning_rate)
        watch = EarlyStopping[State](settings.patience)
        watch.offer(self.validation(), self.state())
        with seeded_torch(self.recipe.seed, self.name, "finetune"):
            for epoch in range(settings.epochs):
                self._epoch(optimiser, False, ("finetune", epoch))
                if watch.offer(self.validation(), self.state()):
                    break
        state = watch.best or self.state()
        self.load(state)
        return Finished(state, watch.score, watch.best_index, time.perf_counter() - started)

    def train_alone(self, rounds: int | None = None) -> Finished:
        """The local-only twin: the federation's rounds, steps, optimiser and stopping rule, without the federation.

        ``rounds``: how often the federation samples this market, where it does not sample all; default: every round.
        """
        started = time.perf_counter()
        federation = self.recipe.federation
        watch = EarlyStopping[State](federation.patience)
        for server_round in range(1, (federation.rounds if rounds is None else rounds) + 1):
            if watch.offer(self.validation(), self.state()):
                break
            self.pretrain_round(server_round)
        else:
            watch.offer(self.validation(), self.state())
        self.load(watch.best or {})
        finished = self.finetune()
        return Finished(finished.state, finished.validation, finished.epochs, time.perf_counter() - started)

    def freeze(self, *, private: bool, shared: bool) -> None:
        """Say which parameters a stage leaves as they are; what is carried along is never frozen."""
        names = set(self.model.shared_state())
        for name, parameter in self.model.named_parameters():
            fixed = shared if name in names else private and not name.startswith(self.carried)
            parameter.requires_grad_(not fixed)

    def state(self) -> State:
        """A copy of all parameters, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}

    def _epoch(
        self,
        optimiser: torch.optim.Optimizer,
        softly: bool,
        purpose: tuple[str | int, ...],
        terms: Iterable[Term[Batch]] = (),
    ) -> EpochResult:
        batches = self.batches(numpy_generator(self.recipe.seed, self.name, *purpose))
        return train_epoch(self.model, batches, optimiser, lambda batch: self.loss(batch, softly), tuple(terms))

    def _anchor(self) -> Anchor:
        """The shared parameters as they came: what FedProx pulls towards."""
        shared = set(self.model.shared_state())
        start = {n: p.detach().clone() for n, p in self.model.named_parameters() if n in shared}
        return Anchor(start, self.recipe.training.proximal)


@dataclass(frozen=True)
class Pace:
    """What a market's local twin, the pacer, says to the model that runs for all (see ``docs/pacer.md``)."""

    twin: LocalTrainer[Any]
    step: float = 1.0  # factor of the round's learning rate
    alignment: float = 0.0  # weight of InfoNCE between the twin's states and the runner's

    def terms(self, runner: LocalTrainer[Batch]) -> list[Term[Batch]]:
        """What the twin adds to the runner's loss."""
        if not self.alignment:
            return []

        def align(batch: Batch) -> Tensor:
            self.twin.model.eval()
            with torch.no_grad():
                known = self.twin.states(batch)
            return self.alignment * info_nce(runner.states(batch), known)

        return [align]
