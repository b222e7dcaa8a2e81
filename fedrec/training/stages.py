"""The two stages of FeCoSR-style learning in one market, and the local-only twin that does both alone."""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from fedrec.data.splits import Holdout
from fedrec.losses.s2ce import SoftTargets, semantic_neighbours
from fedrec.models.adaptor import ItemCodes
from fedrec.models.sequential import build_model
from fedrec.recipe import Recipe
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.semantics.base import ItemVectors
from fedrec.semantics.factory import make_semantics
from fedrec.stopping import EarlyStopping
from fedrec.training.device import choose_device
from fedrec.training.evaluation import Scorer, mean_ndcg
from fedrec.training.loop import (
    Anchor,
    EpochResult,
    epoch_batches,
    make_optimiser,
    model_scores,
    train_epoch,
)
from fedrec.training.prepared import PreparedMarket
from fedrec.training.private import PrivateSteps, private_round

State = dict[str, Tensor]


@dataclass(frozen=True)
class Finished:
    """A model after both stages, on the CPU, with what chose it."""

    state: State
    validation: float  # NDCG@10 on validation users
    epochs: int  # of fine-tuning
    seconds: float


class LocalTrainer:
    """One model of one market under one recipe. ``semantics`` and ``codes`` are frozen."""

    def __init__(
        self, recipe: Recipe, market: PreparedMarket, semantics: ItemVectors, codes: ItemCodes | None = None
    ) -> None:
        self.recipe = recipe
        self.market = market
        self.name = market.store.name
        device = choose_device(recipe.training.device)
        vectors = torch.from_numpy(semantics.vectors).to(device)
        self.model = build_model(recipe.model, vectors, recipe.loss.tau, recipe.seed, codes).to(device)
        self._known = torch.from_numpy(semantics.known).to(device)

    @classmethod
    def alone(cls, recipe: Recipe, market: PreparedMarket, codes: ItemCodes | None = None) -> Self:
        """A trainer on semantics that the market makes of what it knows by itself."""
        semantics = make_semantics(recipe, recipe.semantics.kind)
        return cls(recipe, market, semantics.finish(semantics.alone(market.evidence), market.evidence.keys), codes)

    @cached_property
    def soft(self) -> SoftTargets | None:
        """S2CE's soft targets over the market's catalogue; None where ``lam`` is 0."""
        loss = self.recipe.loss
        if loss.lam == 0:
            return None
        return semantic_neighbours(self.model.semantics, loss.neighbours, loss.tau_s, self._known)

    def load(self, state: State) -> None:
        """Overwrite the named parameters; shapes must fit."""
        self.model.load_state_dict(state, strict=False)

    def validation(self) -> float:
        """NDCG@10 on validation users."""
        return mean_ndcg(self.scorer(self.market.validation), self.market.validation)

    def scorer(self, holdout: Holdout) -> Scorer:
        """The model's scores after the histories of a stage."""
        return lambda users: model_scores(self.model, holdout.histories, users)

    def pretrain_round(self, server_round: int) -> EpochResult:
        """Stage one: the recipe's local epochs with S2CE, from the parameters as they are. A fresh optimiser a round.

        Only the shared group moves: the adaptation stays zero until stage two.
        """
        training = self.recipe.training
        self.freeze(private=True, shared=False)
        optimiser = make_optimiser(self.model, training, training.learning_rate)
        soft = self.soft
        anchor = self._anchor() if training.proximal else None
        result = EpochResult(0.0, 0)
        with seeded_torch(self.recipe.seed, self.name, "pretrain", server_round):
            for epoch in range(training.epochs):
                result = self._epoch(optimiser, soft, ("pretrain", server_round, epoch), anchor)
        return result

    def pretrain_privately(self, server_round: int, steps: PrivateSteps) -> None:
        """Stage one under differential privacy, from the parameters as they are: steps of noised sums over users."""
        training = self.recipe.training
        self.freeze(private=True, shared=False)
        if self.recipe.privacy.trains == "encoder":
            self.model.adaptor.requires_grad_(False)
        optimiser = make_optimiser(self.model, training, training.learning_rate)
        with seeded_torch(self.recipe.seed, self.name, "pretrain", server_round):
            private_round(self.model, self.market.train, optimiser, self.soft, self.recipe.loss.lam, steps)

    def train_everything(self, epochs: int) -> float:
        """Shared and private parameters together, by plain cross-entropy, for so many epochs; the last one's loss."""
        self.freeze(private=False, shared=False)
        optimiser = make_optimiser(self.model, self.recipe.training, self.recipe.training.learning_rate)
        with seeded_torch(self.recipe.seed, self.name, "everything"):
            return [self._epoch(optimiser, None, ("everything", epoch)).loss for epoch in range(epochs)][-1]

    def finetune(self) -> Finished:
        """Stage two: plain cross-entropy on the market's own items with the adaptation; the best epoch is kept.

        Epoch 0, the model as it came, competes too.
        """
        started = time.perf_counter()
        settings = self.recipe.finetune
        self.freeze(private=False, shared=not settings.train_shared)
        optimiser = make_optimiser(self.model, self.recipe.training, settings.learning_rate)
        watch = EarlyStopping[State](settings.patience)
        watch.offer(self.validation(), self._state())
        with seeded_torch(self.recipe.seed, self.name, "finetune"):
            for epoch in range(settings.epochs):
                self._epoch(optimiser, None, ("finetune", epoch))
                if watch.offer(self.validation(), self._state()):
                    break
        state = watch.best or self._state()
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
            if watch.offer(self.validation(), self.model.shared_state()):
                break
            self.pretrain_round(server_round)
        else:
            watch.offer(self.validation(), self.model.shared_state())
        self.load(watch.best or {})
        finished = self.finetune()
        return Finished(finished.state, finished.validation, finished.epochs, time.perf_counter() - started)

    def _epoch(
        self,
        optimiser: torch.optim.Optimizer,
        soft: SoftTargets | None,
        purpose: tuple[str | int, ...],
        anchor: Anchor | None = None,
    ) -> EpochResult:
        generator = numpy_generator(self.recipe.seed, self.name, *purpose)
        batches = epoch_batches(self.market.train, self.recipe.training, self.model, generator)
        return train_epoch(self.model, batches, optimiser, soft, self.recipe.loss, anchor)

    def _anchor(self) -> Anchor:
        """The shared parameters as they came: what FedProx pulls towards."""
        shared = set(self.model.shared_state())
        start = {n: p.detach().clone() for n, p in self.model.named_parameters() if n in shared}
        return Anchor(start, self.recipe.training.proximal)

    def freeze(self, *, private: bool, shared: bool) -> None:
        """Say which parameters a stage leaves as they are."""
        names = set(self.model.shared_state())
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not (shared if name in names else private))

    def _state(self) -> State:
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
