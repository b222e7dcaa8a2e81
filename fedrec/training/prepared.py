"""One market made ready for one recipe: its split, what it knows of its items, and what is fitted on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedrec.components.algorithm import Need
from fedrec.data.catalogue import Vocabulary, own_vocabulary
from fedrec.data.columns import Columns
from fedrec.data.ctr import CtrSplit, split_ctr
from fedrec.data.draws import UserDraws
from fedrec.data.sequences import Sequences
from fedrec.data.splits import Holdout, Split, split_market
from fedrec.data.store import MarketStore
from fedrec.recipe import Recipe
from fedrec.semantics.base import ItemEvidence
from fedrec.training.prior import ItemItem, fit_itemknn, fit_own_ease
from fedrec.training.ranker.holdouts import pseudo_holdout


@dataclass(frozen=True)
class PreparedMarket:
    """A store under a recipe. Everything is made on first use.

    ``vocabulary``: of the federation, where its union is ranked (see :func:`split_market`).
    """

    store: MarketStore
    recipe: Recipe
    vocabulary: Vocabulary | None = None
    draws: UserDraws | None = None  # of the market's secret, under privacy; default: of the recipe's seed
    hides_last: bool = False  # whether models are trained without what a ranker is to find (:func:`pseudo_holdout`)

    @cached_property
    def split(self) -> Split:
        """Train, validation and test."""
        recipe = self.recipe
        share = recipe.data.user_share
        return split_market(self.store, recipe.splitting, recipe.seed, self.vocabulary, share, self.draws)

    @cached_property
    def ctr(self) -> CtrSplit:
        """Rows for collaborative vectors, and labelled instances, of a click-through recipe."""
        recipe = self.recipe
        return split_ctr(self.store, recipe.splitting, recipe.ctr, recipe.data.user_share, draws=self.draws)

    @cached_property
    def train(self) -> Sequences:
        """Histories that models and vectors learn from."""
        if self.recipe.task == "ctr":
            return self.ctr.collaborative
        return self.pseudo_holdout.known if self.hides_last else self.split.train

    @cached_property
    def pseudo_holdout(self) -> Holdout:
        """What a ranker learns to find in the train histories."""
        return pseudo_holdout(self.split.train, self.recipe.evaluation.holdout == "basket")

    @property
    def owners(self) -> NDArray[np.int64]:
        """Which of the split's users each history of ``train`` is of, in a sequential recipe."""
        return self.split.learners[self.pseudo_holdout.users] if self.hides_last else self.split.learners

    @property
    def learners(self) -> list[str]:
        """Whose the histories of ``train`` are, of a sequential recipe. Private."""
        return [self.split.users[user] for user in self.owners]

    @cached_property
    def crowds(self) -> tuple[int, int, int]:
        """How many users are trained on, choose, and are tested."""
        if self.recipe.task == "ctr":
            parts = (self.ctr.learn, self.ctr.validation, self.ctr.test)
            learn, validation, test = (len(np.unique(part.users)) for part in parts)
            return min(learn, int(np.count_nonzero(self.ctr.collaborative.lengths))), validation, test
        learn = len(self.split.train)
        if Need.STATISTICS in self.recipe.needs:
            learn = min(learn, len(self.pseudo_holdout))
        return learn, len(self.split.validation), len(self.split.test)

    @property
    def items(self) -> list[str]:
        """Keys of the catalogue, sorted."""
        return self.ctr.items if self.recipe.task == "ctr" else self.split.items

    @cached_property
    def sold(self) -> NDArray[np.bool_]:
        """Which of the items are of the market's own catalogue, [I]; where the union is ranked, not all."""
        own = own_vocabulary(self.store, self.recipe.splitting, self.recipe.seed, self.draws)
        return np.isin(self.items, own.items if own.tested is None else own.tested)

    @property
    def validation(self) -> Holdout:
        """Held-out items that choose."""
        return self.split.validation

    @property
    def test(self) -> Holdout:
        """Held-out items that are read once."""
        return self.split.test

    @cached_property
    def evidence(self) -> ItemEvidence:
        """Keys, texts and train histories of the items."""
        return ItemEvidence(self.items, item_texts(self.store, self.items), self.train.matrix())

    @cached_property
    def ease(self) -> ItemItem:
        """EASE with its hyper-parameters chosen on validation."""
        return fit_own_ease(self.train.matrix(), self.validation, self.recipe.ease)

    @cached_property
    def itemknn(self) -> ItemItem:
        """Item-kNN with its hyper-parameters chosen on validation."""
        return fit_itemknn(self.train.matrix(), self.validation, self.recipe.itemknn)


def item_texts(store: MarketStore, items: Iterable[str]) -> list[str]:
    """Title, brand and category of every item in one line; empty where nothing is known.

    A family speaks with its representative's text, or where that is not sold here, with its first member's.
    """
    rows = store.catalogue.select(Columns.ITEMS).sort(Columns.ITEM).iter_rows()
    own = {key: " ".join(part for part in parts if part) for key, *parts in rows}
    texts = {key: text for key, text in own.items() if text}
    for key, text in own.items():
        if text:
            texts.setdefault((store.families or {}).get(key, key), text)
    return [texts.get(item, "") for item in items]
