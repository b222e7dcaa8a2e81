"""What a run of the table stands on: all markets of a folder under one split, and how a finished model is evaluated."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.baselines.ease import gram
from fedrec.data.catalogue import union_vocabulary
from fedrec.data.store import open_stores
from fedrec.models.pointwise.interface import PointwiseModel, Sizes
from fedrec.progress import Progress, no_progress
from fedrec.recipe import Recipe, load_recipe
from fedrec.training.pointwise import Fitted, PointwiseMarket, Settings, candidate_ranks
from fedrec.training.prepared import PreparedMarket

# One value for all, as in docs/results/published-table.md: choosing among many on few validation users overfits.
FIXED = ("ease.lambdas=[50]", "fedease.lambdas=[50]", "itemknn.neighbours=[100]", "itemknn.shrink=[10]")
_METHODS = "evaluation.methods=[popularity, itemknn, ease]"
Ranks = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """One model on one market of one split."""

    ranks: Ranks  # [U] of the test users
    validation: float | None = None
    epochs: int | None = None


Results = dict[str, dict[str, Figures]]  # by model, by market


@dataclass(frozen=True)
class Ground:
    """All markets of a folder under one split. Test is read when a model is finished, once."""

    folder: Path
    split: int
    targets: tuple[str, ...]  # the markets that figures are wanted of; all are trained on
    unfinished: Path  # where runs of federations lie until they are done
    settings: Settings = field(default_factory=Settings)
    progress: Progress = no_progress
    only: str | None = None  # the one market there is, where the others do not exist

    @cached_property
    def recipe(self) -> Recipe:
        """Protocol and seed."""
        return load_recipe("baselines", ["evaluation.protocol=acmr", f"seed={self.split}", *FIXED, _METHODS])

    @cached_property
    def prepared(self) -> list[PreparedMarket]:
        """Every market over the union of the catalogues."""
        stores = open_stores(self.folder, None if self.only is None else [self.only])
        union = union_vocabulary(stores, self.recipe.evaluation, self.split)
        return [PreparedMarket(store, self.recipe, union) for store in stores]

    @cached_property
    def markets(self) -> list[PointwiseMarket]:
        """The same as pointwise models see them."""
        result, users = [], 0
        for index, market in enumerate(self.prepared):
            result.append(PointwiseMarket(market.store.name, index, users, market.split))
            users += len(market.split.users)
        return result

    @property
    def wanted(self) -> list[PointwiseMarket]:
        """The markets that figures are wanted of."""
        return [market for market in self.markets if market.name in self.targets]

    @property
    def sizes(self) -> Sizes:
        """Of all markets together."""
        users = sum(len(market.split.users) for market in self.markets)
        return Sizes(users, len(self.prepared[0].items), len(self.markets))

    @cached_property
    def counts(self) -> list[sparse.csr_matrix]:
        """Item-item counts of every market's train items, over the union."""
        return [gram(market.train.matrix()) for market in self.prepared]

    def evaluated(self, model: PointwiseModel, market: PointwiseMarket, fitted: Fitted) -> Figures:
        """The finished model on the market's test users."""
        model.load_state_dict(fitted.state)
        return Figures(candidate_ranks(model, market, market.split.test), fitted.validation, fitted.epochs)
