"""The two stages of learning in one market, and the local baseline that does both alone, whatever the model."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from fedrec.data.splits import Holdout
from fedrec.errors import RunError
from fedrec.losses.info_nce import info_nce
from fedrec.models.federated import FederatedModel
from fedrec.recipe import FinetuneSettings, Recipe, TrainingSettings
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.stopping import EarlyStopping
from fedrec.training.evaluation import Scorer, mean_loss, mean_ndcg
from fedrec.training.known import Known
from fedrec.training.loop import Anchor, EpochResult, Term, make_optimiser, train_epoch
from fedrec.training.prepared import PreparedMarket

State = dict[str, Tensor]
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Finished:
    """A model after both stages, on the CPU, with what chose it."""

    state: State
    validation: float | None  # NDCG@10 on validation users; None where the model has learned from them
    epochs: int  # of fine-tuning
    seconds: float


@dataclass(frozen=True)
class StageSettings:
    """How both stages train, whatever the model."""

    training: TrainingSettings
    finetune: FinetuneSettings
    rounds: int  # of stage one, at most
    patience: int  # rounds without better validation
    seed: int

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """What a recipe says of it."""
        federation = recipe.federation
        return cls(recipe.training, recipe.finetune, federation.rounds, federation.patience, recipe.seed)


class LocalTrainer(ABC, Generic[Batch]):
    """One model of one market. What it needs of a recipe is picked in :meth:`of`."""

    carried: tuple[str, ...] = ()  # prefixes of private parameters that stage one trains and the market carries along

    def __init__(self, stages: StageSettings, market: PreparedMarket, model: FederatedModel) -> None:
        self.stages = stages
        self.market = market
        self.model = model
        self.name = market.store.name
        self._first = self.carried_state()

    @classmethod
    @abstractmethod
    def of(cls, recipe: Recipe, market: PreparedMarket, known: Known) -> Self:
        """An untrained model of one market, with what its algorithm needs of the others."""

    @abstractmethod
    def scorer(self, holdout: Holdout) -> Scorer:
        """The model's scores after the histories of a stage."""

    @abstractmethod
    def batches(self, generator: np.random.Generator) -> Iterable[Batch]:
        """One pass over the market's train items."""

    @abstractmethod
    def loss(self, batch: Batch, soft_targets: bool) -> tuple[Tensor, int]:
        """Mean loss of a batch, and over how many predictions; ``soft_targets``: as the federation's rounds want it."""

    @abstractmethod
    def states(self, batch: Batch) -> Tensor:
        """What the model makes of each user of a batch, [B, d]."""

    @abstractmethod
    def item_vectors(self) -> Tensor | None:
        """What the model makes of each item of the market's catalogue, as a direction [I, d]; None where nothing."""

    @property
    def weight(self) -> float:
        """How much the market's update counts where updates count by what was learned from."""
        return float(len(self.market.train.items))

    @property
    def refit_weight(self) -> float:
        """The same of rounds that learn from validation users too."""
        return self.weight

    def refit_round(self, server_round: int, rounds: int | None = None) -> EpochResult:
        """A round of stage one that learns from validation users too.

        Figures of validation users say nothing of what comes of it.
        """
        raise RunError(f"{type(self).__name__} has no rounds with validation users")

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
        if state:
            self.model.load_state_dict(state, strict=False)

    def carried_state(self) -> State:
        """A copy of the private parameters that stage one trains."""
        if not self.carried:
            return {}
        return _copied({n: value for n, value in self.model.state_dict().items() if n.startswith(self.carried)})

    def carry_on(self, state: State | None) -> None:
        """Go on with the private parameters of an earlier round, or where there was none, with the first ones."""
        self.load(self._first if state is None else state)

    def validation(self) -> float:
        """NDCG@10 on validation users."""
        return mean_ndcg(self.scorer(self.market.validation), self.market.validation)

    def validation_loss(self) -> float:
        """Cross-entropy of the validation items among what is ranked, in nats."""
        return mean_loss(self.scorer(self.market.validation), self.market.validation)

    def pretrain_round(
        self,
        server_round: int,
        pace: "Pace | None" = None,
        term: Callable[[], Tensor] | None = None,
        rounds: int | None = None,
    ) -> EpochResult:
        """Stage one: the recipe's local epochs, from the parameters as they are. A fresh optimiser a round.

        ``term``: what an aggregator adds to the loss of every batch. ``rounds``: how many there are, for a learning
        rate that falls; default: the federation's.
        Only the shared group moves, and what the market carries along: the rest of it waits for stage two.
        """
        training = self.stages.training
        self.freeze(private=True, shared=False)
        rate = training.learning_rate * (1.0 if pace is None else pace.step)
        if training.schedule == "linear":
            of = rounds or self.stages.rounds
            rate *= 1 - (min(server_round, of) - 1) / of  # rounds that were missed may make more of them
        optimiser = make_optimiser(self.model, training, rate)
        terms: list[Term[Batch]] = [] if pace is None else pace.terms(self)
        if training.proximal:
            terms.append(self._pull(training.proximal))
        if term is not None:
            terms.append(lambda batch: term())
        result = EpochResult(0.0, 0)
        with seeded_torch(self.stages.seed, self.name, "pretrain", server_round):
            for epoch in range(training.epochs):
                result = self._epoch(optimiser, True, ("pretrain", server_round, epoch), terms)
        return result

    def train_everything(self, epochs: int) -> float:
        """Shared and private parameters together, on hard targets, for so many epochs; the last one's loss."""
        self.freeze(private=False, shared=False)
        optimiser = make_optimiser(self.model, self.stages.training, self.stages.training.learning_rate)
        with seeded_torch(self.stages.seed, self.name, "everything"):
            return [self._epoch(optimiser, False, ("everything", epoch)).loss for epoch in range(epochs)][-1]

    def finetune(self) -> Finished:
        """Stage two: hard targets on the market's own items with the adaptation; the best epoch is kept.

        Epoch 0, the model as it came, competes too. With ``finetune.proximal`` the market's copy of the shared
        parameters is pulled towards them, as in Ditto (Li et al., ICML 2021); there personal models are trained beside
        every round, here once, on the final shared model.
        """
        started = time.perf_counter()
        settings = self.stages.finetune
        self.freeze(private=False, shared=not settings.train_shared)
        optimiser = make_optimiser(self.model, self.stages.training, settings.learning_rate)
        watch = EarlyStopping[State](settings.patience)
        watch.offer(self.validation(), self.state())
        terms = [self._pull(settings.proximal)] if settings.proximal else []
        with seeded_torch(self.stages.seed, self.name, "finetune"):
            for epoch in range(settings.epochs):
                self._epoch(optimiser, False, ("finetune", epoch), terms)
                if watch.offer(self.validation(), self.state()):
                    break
        state = watch.best or self.state()
        self.load(state)
        return Finished(state, watch.score, watch.best_index, time.perf_counter() - started)

    def train_alone(self, rounds: int | None = None) -> Finished:
        """The local baseline: the federation's rounds, steps, optimiser and stopping rule, without the federation.

        ``rounds``: how often the federation samples this market, where it does not sample all; default: every round.
        """
        started = time.perf_counter()
        self.choose_rounds(rounds)
        finished = self.finetune()
        return Finished(finished.state, finished.validation, finished.epochs, time.perf_counter() - started)

    def choose_rounds(self, rounds: int | None) -> EarlyStopping[State]:
        """Train alone as many rounds as validation likes, of ``rounds`` at most; the model is the best one then."""
        watch = EarlyStopping[State](self.stages.patience)
        for server_round in range(1, (self.stages.rounds if rounds is None else rounds) + 1):
            if watch.offer(self.validation(), self.state()):
                break
            self.pretrain_round(server_round, rounds=rounds)
        else:
            watch.offer(self.validation(), self.state())
        self.load(watch.best or {})
        return watch

    def freeze(self, *, private: bool, shared: bool) -> None:
        """Say which parameters a stage leaves as they are; what is carried along is never frozen."""
        names = set(self.model.shared_names)
        for name, parameter in self.model.named_parameters():
            fixed = shared if name in names else private and not name.startswith(self.carried)
            parameter.requires_grad_(not fixed)

    def state(self) -> State:
        """A copy of all parameters, on the CPU."""
        return _copied(self.model.state_dict())

    def _epoch(
        self,
        optimiser: torch.optim.Optimizer,
        soft_targets: bool,
        purpose: tuple[str | int, ...],
        terms: Iterable[Term[Batch]] = (),
    ) -> EpochResult:
        batches = self.batches(numpy_generator(self.stages.seed, self.name, *purpose))
        return train_epoch(self.model, batches, optimiser, lambda batch: self.loss(batch, soft_targets), tuple(terms))

    def _pull(self, strength: float) -> Term[Batch]:
        """Towards the shared parameters as they are now."""
        shared = set(self.model.shared_names)
        start = {n: p.detach().clone() for n, p in self.model.named_parameters() if n in shared}
        anchor = Anchor(start, strength)
        return lambda batch: anchor.penalty(self.model)


def _copied(state: State) -> State:
    return {name: value.cpu().clone() for name, value in state.items()}


@dataclass(frozen=True)
class Pace:
    """What a market's local baseline, the pacer, says to the model that runs for all (see ``docs/pacer.md``)."""

    local: LocalTrainer[Any]
    step: float = 1.0  # factor of the round's learning rate
    alignment: float = 0.0  # weight of InfoNCE between the pacer's states and the runner's

    def terms(self, runner: LocalTrainer[Batch]) -> list[Term[Batch]]:
        """What the pacer adds to the runner's loss."""
        if not self.alignment:
            return []

        def align(batch: Batch) -> Tensor:
            self.local.model.eval()
            with torch.no_grad():
                known = self.local.states(batch)
            return self.alignment * info_nce(runner.states(batch), known)

        return [align]
