"""What a market has of the federation, or of itself in its place, before it trains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedrec.data.splits import Holdout
from fedrec.exchange.statistics import Statistics
from fedrec.models.adaptor import ItemCodes
from fedrec.semantics.base import ItemVectors
from fedrec.training.evaluation import Scorer

Scores = Callable[[Holdout], Scorer]  # of a finished model, after the histories of a stage


@dataclass(frozen=True)
class Known:
    """One entry for each :class:`fedrec.components.algorithm.Need`; what is not needed is empty."""

    vocabulary: Sequence[str] = ()  # sorted keys of the items of all markets
    vectors: ItemVectors | None = None  # of the market's items; None: those that it makes alone
    codes: ItemCodes | None = None
    statistics: Statistics | None = None  # of the other markets
    scores: Scores | None = None  # of a model that was trained without what a ranker is to find
