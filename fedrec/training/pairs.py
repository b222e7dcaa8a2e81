"""A pointwise model in one market of a federation: private parameters are trained in every round and carried along."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedrec.algorithms.pointwise import PointwiseAlgorithm
from fedrec.components.algorithm import algorithm_of
from fedrec.data.splits import Holdout
from fedrec.errors import UserError
from fedrec.models.pointwise.interface import FederatedPointwise
from fedrec.recipe import Recipe
from fedrec.training.device import choose_device
from fedrec.training.evaluation import Scorer
from fedrec.training.known import Known
from fedrec.training.pointwise import Labelled, PointwiseMarket, Settings, candidate_scores, labelled_batches
from fedrec.training.prepared import PreparedMarket
from fedrec.training.stages import LocalTrainer, StageSettings

_COLUMNS = 512  # items of a whole catalogue that are scored at a time


class PairTrainer(LocalTrainer[Labelled]):
    """``vocabulary``: sorted keys of the items that the federation's table has rows for."""

    model: FederatedPointwise

    def __init__(
        self,
        stages: StageSettings,
        market: PreparedMarket,
        model: FederatedPointwise,
        vocabulary: Sequence[str],
        negatives: int,
        maximum_length: int,
    ) -> None:
        self.carried = model.groups.private
        super().__init__(stages, market, model.to(choose_device(stages.training.device)))
        self.rows = torch.from_numpy(np.searchsorted(np.array(vocabulary), np.array(market.items)))  # [I]
        self.place = PointwiseMarket(self.name, 0, 0, market.split, maximum_length)
        self.settings = Settings(negatives=negatives, batch_size=stages.training.batch_size)

    @classmethod
    def of(cls, recipe: Recipe, market: PreparedMarket, known: Known) -> Self:
        """On the vocabulary of all markets."""
        algorithm = algorithm_of(recipe)
        if not isinstance(algorithm, PointwiseAlgorithm):
            raise UserError(f"algorithm.kind {recipe.algorithm.kind!r} scores no pairs")
        model = algorithm.build(len(known.vocabulary), len(market.split.users))
        negatives, longest = algorithm.settings.negatives, recipe.model.maximum_length
        return cls(StageSettings.of(recipe), market, model, known.vocabulary, negatives, longest)

    def scorer(self, holdout: Holdout) -> Scorer:
        """Scores of the candidates where there are some (zero elsewhere: nobody ranks those), else of all items."""

        def score(users: NDArray[np.int64]) -> NDArray[np.float32]:
            if self.model.needs_user and (holdout.users[users] < 0).any():
                raise UserError(
                    f"{type(self.model).__name__} knows users by their vectors: name one of "
                    "the run's with --user, or take another method"
                )
            items = holdout.histories.item_count
            if holdout.candidates is None:
                everything = np.arange(items)
                blocks = [everything[start : start + _COLUMNS] for start in range(0, items, _COLUMNS)]
                return np.concatenate([self._scores(holdout, users, np.tile(b, (len(users), 1))) for b in blocks], 1)
            rows, targets = holdout.targets_of(users)
            asked = np.column_stack([holdout.candidates[users], targets[np.searchsorted(rows, np.arange(len(users)))]])
            scores = np.zeros((len(users), items), np.float32)
            np.put_along_axis(scores, asked, self._scores(holdout, users, asked), axis=1)
            return scores

        return score

    def _scores(self, holdout: Holdout, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        return candidate_scores(self.model, self.place, holdout, users, items, self.rows)

    def batches(self, generator: np.random.Generator) -> Iterable[Labelled]:
        """Positives and fresh negatives of the catalogue that the market ranks."""
        for batch in labelled_batches(self.place, self.settings, self.model.positives_at_once, generator):
            yield replace(batch, request=batch.request.placed(self.rows))

    def loss(self, batch: Labelled, soft_targets: bool) -> tuple[Tensor, int]:
        """The model's own, most often binary cross-entropy per pair; there are no soft targets."""
        here = batch.to(self.device)
        return self.model.loss(here.request, here.labels, here.counted), int(batch.counted.sum())

    def item_vectors(self) -> Tensor | None:
        """Directions of the model's vectors."""
        found = self.model.item_vectors(self.rows.to(self.device), self.place.index)
        return None if found is None else F.normalize(found, dim=-1)

    def states(self, batch: Labelled) -> Tensor:
        """The users of a batch, each once, without any candidate."""
        _, first = np.unique(batch.request.users.numpy(), return_index=True)
        return self.model.user_states(batch.request.of(torch.from_numpy(first)).to(self.device))
