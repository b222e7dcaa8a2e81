"""The FeCoSR-style model in one market: the recipe's loss in the federation's rounds, on hard targets on its own."""

from collections.abc import Iterable
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from fedrec.components.loss import Items, Loss
from fedrec.components.plugins import OWN
from fedrec.components.registry import components, find
from fedrec.data.batches import Batch
from fedrec.data.splits import Holdout
from fedrec.models.adaptor import ItemCodes
from fedrec.models.sequential import SequentialModel, build_model
from fedrec.recipe import Recipe
from fedrec.semantics.base import ItemVectors
from fedrec.semantics.factory import make_semantics, vectors_alone
from fedrec.training.causality import require_reading
from fedrec.training.device import choose_device, choose_precision
from fedrec.training.evaluation import Scorer
from fedrec.training.isolation import require_isolation
from fedrec.training.known import Known
from fedrec.training.loop import batch_loss, batch_states, epoch_batches, make_optimiser, model_scores
from fedrec.training.prepared import PreparedMarket
from fedrec.training.private import PrivateSteps, private_round
from fedrec.training.stages import LocalTrainer, StageSettings


class SequentialTrainer(LocalTrainer[Batch]):
    """``objective``: the loss of the federation's rounds. ``named``: model and loss, for those who read an error."""

    model: SequentialModel

    def __init__(
        self, stages: StageSettings, market: PreparedMarket, model: SequentialModel, objective: Loss, named: str
    ) -> None:
        super().__init__(stages, market, model)
        self.objective = objective
        self.named = named
        self._hard = objective.hard()
        self._isolated = False  # whether it was tried that users' gradients stand apart

    @classmethod
    def of(cls, recipe: Recipe, market: PreparedMarket, known: Known) -> Self:
        """On the vectors and codes that there are; without vectors, on those of the market alone."""
        if known.vectors is None:
            return cls.alone(recipe, market, known.codes)
        return cls.on(recipe, market, known.vectors, known.codes)

    @classmethod
    def alone(cls, recipe: Recipe, market: PreparedMarket, codes: ItemCodes | None = None) -> Self:
        """A trainer on semantics that the market makes of what it knows by itself."""
        semantics = make_semantics(recipe.semantics, recipe.seed)
        return cls.on(recipe, market, vectors_alone(semantics, market.evidence, recipe.privacy.on), codes)

    @classmethod
    def on(cls, recipe: Recipe, market: PreparedMarket, semantics: ItemVectors, codes: ItemCodes | None = None) -> Self:
        """A trainer on these vectors and codes, which stay as they are."""
        device, kind = choose_device(recipe.training.device), recipe.encoder.kind
        vectors, known = (torch.from_numpy(part).to(device) for part in (semantics.vectors, semantics.known))
        model = build_model(recipe.model, recipe.encoder, vectors, recipe.loss.tau, recipe.seed, codes).to(device)
        model.precision = choose_precision(recipe.training.precision, device)
        if components("encoder")[kind].origin != OWN:
            require_reading(model.encoder, kind, recipe.model.dimension, recipe.model.maximum_length)
        objective: Loss = find("loss", recipe.loss.kind)(recipe.loss, Items(model.semantics, known))
        named = f"encoder {kind!r} under loss {recipe.loss.kind!r}"
        return cls(StageSettings.of(recipe), market, model, objective, named)

    @property
    def perplexity(self) -> float | None:
        """Over how many items a target is spread."""
        return self.objective.perplexity

    def scorer(self, holdout: Holdout) -> Scorer:
        """Scores over the whole catalogue."""
        return lambda users: model_scores(self.model, holdout.histories, users)

    def batches(self, generator: np.random.Generator) -> Iterable[Batch]:
        """Whole histories, every position predicting the next item."""
        return epoch_batches(self.market.train, self.stages.training, self.model, generator)

    def loss(self, batch: Batch, soft_targets: bool) -> tuple[Tensor, int]:
        """The recipe's loss, or where not ``soft_targets`` its form for hard targets, per position."""
        return batch_loss(self.model, batch, self.objective if soft_targets else self._hard)

    def states(self, batch: Batch) -> Tensor:
        """The encoder's state after each history."""
        return batch_states(self.model, batch)

    def item_vectors(self) -> Tensor:
        """What queries are compared with, but for the items' biases."""
        return self.model.catalogue().keys[:, :-1]

    def pretrain_privately(self, steps: PrivateSteps, trains: Literal["encoder", "everything"]) -> None:
        """Stage one under differential privacy, from the parameters as they are: steps of noised sums over users.

        ``trains``: of what is shared.
        """
        training = self.stages.training
        self.freeze(private=True, shared=False)
        if trains == "encoder":
            self.model.adaptor.requires_grad_(False)
        optimiser = make_optimiser(self.model, training, training.learning_rate)
        if not self._isolated:
            require_isolation(self.model, self.objective, self.named)
            self._isolated = True
        private_round(self.model, self.market.train, self.market.learners, optimiser, self.objective, steps)
