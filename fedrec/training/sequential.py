"""The FeCoSR-style model in one market: S2CE in the federation's rounds, plain cross-entropy on its own."""

from collections.abc import Iterable
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedrec.data.batches import Batch
from fedrec.data.splits import Holdout
from fedrec.losses.s2ce import SoftTargets, semantic_neighbours
from fedrec.models.adaptor import ItemCodes
from fedrec.models.sequential import SequentialModel, build_model
from fedrec.recipe import Recipe
from fedrec.semantics.base import ItemVectors
from fedrec.semantics.factory import make_semantics
from fedrec.training.device import choose_device
from fedrec.training.evaluation import Scorer
from fedrec.training.isolation import require_isolation
from fedrec.training.loop import batch_loss, batch_states, epoch_batches, make_optimiser, model_scores
from fedrec.training.prepared import PreparedMarket
from fedrec.training.private import PrivateSteps, private_round
from fedrec.training.stages import LocalTrainer


class SequentialTrainer(LocalTrainer[Batch]):
    """``semantics`` and ``codes`` are frozen."""

    model: SequentialModel

    def __init__(
        self, recipe: Recipe, market: PreparedMarket, semantics: ItemVectors, codes: ItemCodes | None = None
    ) -> None:
        device = choose_device(recipe.training.device)
        vectors = torch.from_numpy(semantics.vectors).to(device)
        model = build_model(recipe.model, recipe.encoder, vectors, recipe.loss.tau, recipe.seed, codes).to(device)
        super().__init__(recipe, market, model)
        self._known = torch.from_numpy(semantics.known).to(device)
        self._isolated = False  # whether it was tried that users' gradients stand apart

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

    @property
    def perplexity(self) -> float | None:
        """Over how many items a target is spread."""
        return None if self.soft is None else self.soft.perplexity

    def scorer(self, holdout: Holdout) -> Scorer:
        """Scores over the whole catalogue."""
        return lambda users: model_scores(self.model, holdout.histories, users)

    def batches(self, generator: np.random.Generator) -> Iterable[Batch]:
        """Whole histories, every position predicting the next item."""
        return epoch_batches(self.market.train, self.recipe.training, self.model, generator)

    def loss(self, batch: Batch, softly: bool) -> tuple[Tensor, int]:
        """S2CE, or where not ``softly`` cross-entropy, per position."""
        return batch_loss(self.model, batch, self.soft if softly else None, self.recipe.loss.lam if softly else 0.0)

    def states(self, batch: Batch) -> Tensor:
        """The encoder's state after each history."""
        return batch_states(self.model, batch)

    def item_vectors(self) -> Tensor:
        """What queries are compared with, but for the items' biases."""
        return self.model.catalogue().keys[:, :-1]

    def pretrain_privately(self, steps: PrivateSteps) -> None:
        """Stage one under differential privacy, from the parameters as they are: steps of noised sums over users."""
        training = self.recipe.training
        self.freeze(private=True, shared=False)
        if self.recipe.privacy.trains == "encoder":
            self.model.adaptor.requires_grad_(False)
        optimiser = make_optimiser(self.model, training, training.learning_rate)
        market, lam = self.market, self.recipe.loss.lam
        if not self._isolated:
            require_isolation(self.model, self.soft, lam, self.recipe.encoder.kind)
            self._isolated = True
        private_round(self.model, market.train, market.learners, optimiser, self.soft, lam, steps)
