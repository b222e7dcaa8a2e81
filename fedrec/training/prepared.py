"""One market made ready for one recipe: its split, what it knows of its items, and what is fitted on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fedrec.data.columns import Columns
from fedrec.data.sequences import Sequences
from fedrec.data.splits import Holdout, Split, split_market
from fedrec.data.store import MarketStore
from fedrec.recipe import Recipe
from fedrec.semantics.base import ItemEvidence
from fedrec.training.prior import ItemItem, fit_itemknn, fit_own_ease


@dataclass(frozen=True)
class PreparedMarket:
    """A store under a recipe. Everything is made on first use.

    ``vocabulary``: the catalogue to rank where that is not the market's own (see :func:`split_market`).
    """

    store: MarketStore
    recipe: Recipe
    vocabulary: Sequence[str] | None = None

    @cached_property
    def split(self) -> Split:
        """Train, validation and test."""
        recipe = self.recipe
        return split_market(self.store, recipe.evaluation, recipe.seed, self.vocabulary, recipe.data.user_share)

    @property
    def train(self) -> Sequences:
        """Histories the models learn from."""
        return self.split.train

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
        return ItemEvidence(self.split.items, item_texts(self.store, self.split.items), self.train.matrix())

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
