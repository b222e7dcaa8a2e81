"""ACMR in one market of a federation: everything is shared but the market embedding, which the market carries along."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedrec.data.splits import Holdout
from fedrec.models.pointwise.acmr import Acmr
from fedrec.models.pointwise.build import build_acmr
from fedrec.recipe import Recipe
from fedrec.training.device import choose_device
from fedrec.training.evaluation import Scorer
from fedrec.training.pointwise import Labelled, PointwiseMarket, Settings, candidate_scores, labelled_batches
from fedrec.training.prepared import PreparedMarket
from fedrec.training.stages import LocalTrainer

_COLUMNS = 512  # items of a whole catalogue that are scored at a time


class AcmrTrainer(LocalTrainer[Labelled]):
    """``vocabulary``: sorted keys of the items that the federation's table has rows for."""

    model: Acmr
    carried = ("markets.",)

    def __init__(self, recipe: Recipe, market: PreparedMarket, vocabulary: Sequence[str]) -> None:
        model = build_acmr(recipe, len(vocabulary)).to(choose_device(recipe.training.device))
        super().__init__(recipe, market, model)
        self.rows = torch.from_numpy(np.searchsorted(np.array(vocabulary), np.array(market.items)))  # [I]
        self.seat = PointwiseMarket(self.name, 0, 0, market.split, recipe.model.maximum_length)
        self.settings = Settings(negatives=recipe.acmr.negatives, batch_size=recipe.training.batch_size)

    def scorer(self, holdout: Holdout) -> Scorer:
        """Scores of the candidates where there are some (zero elsewhere: nobody ranks those), else of all items."""

        def score(users: NDArray[np.int64]) -> NDArray[np.float32]:
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
        return candidate_scores(self.model, self.seat, holdout, users, items, self.rows)

    def batches(self, generator: np.random.Generator) -> Iterable[Labelled]:
        """Positives and fresh negatives of the catalogue that the market ranks."""
        for batch in labelled_batches(self.seat, self.settings, self.model.positives_at_once, generator):
            yield replace(batch, request=batch.request.placed(self.rows))

    def loss(self, batch: Labelled, softly: bool) -> tuple[Tensor, int]:
        """Binary cross-entropy per pair; ACMR knows no soft targets."""
        here = batch.to(self.device)
        return self.model.loss(here.request, here.labels, here.counted), int(batch.counted.sum())

    def item_vectors(self) -> Tensor:
        """An item's embedding with the market's own added."""
        rows = self.rows.to(self.device)
        return F.normalize(self.model.embed(rows, self.seat.index), dim=-1)

    def states(self, batch: Labelled) -> Tensor:
        """The users of a batch, each once, without any candidate."""
        _, first = np.unique(batch.request.users.numpy(), return_index=True)
        return self.model.user_states(batch.request.of(torch.from_numpy(first)).to(self.device))
