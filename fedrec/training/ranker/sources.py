"""From a market's histories, and what came of the other markets, to the features of a holdout's users."""

import numpy as np

from fedrec.algorithms.ranker import RankerSettings
from fedrec.data.sequences import Sequences
from fedrec.data.splits import Holdout
from fedrec.exchange.statistics import Events, Statistics, count_kinds, count_statistics
from fedrec.recipe import EaseSettings
from fedrec.training.evaluation import Scorer
from fedrec.training.ranker.features import FeatureMaker, Source
from fedrec.training.ranker.holdouts import events_of
from fedrec.training.ranker.item_item import PairMatrices, item_models
from fedrec.training.ranker.sales import Sales


def market_statistics(train: Sequences, min_count: int) -> Statistics:
    """What a market says of itself: counts of its users, held back where they are fewer than ``min_count``."""
    return count_statistics(events_of(train), min_count)


def features_of_statistics(
    holdout: Holdout, own: Statistics, everyone: Statistics | None, settings: RankerSettings, ease: EaseSettings
) -> FeatureMaker:
    """Of a holdout's users by statistics alone: a market's ``own``, and where there are such, those of ``everyone``."""
    none = np.zeros(0, np.int64)
    nothing = Events(none, none, none, holdout.histories.item_count)

    def source(statistics: Statistics) -> Source:
        monthly = statistics.monthly
        models = item_models(PairMatrices.of(statistics.pairs), ease)
        return Source(models, Sales.of(nothing, monthly), statistics.popularity)

    summed = None if everyone is None else source(everyone)
    return FeatureMaker(holdout, source(own), summed, settings.per_scorer, settings.left_out)


def features_of(
    holdout: Holdout,
    others: Statistics | None,
    settings: RankerSettings,
    ease: EaseSettings,
    scorer: Scorer | None = None,
) -> FeatureMaker:
    """Of a holdout's users: by what their own market knows before, and by the statistics of ``others``.

    Those are of other users, so they may count what these markets hide from themselves. None for a market alone.
    ``scorer``: of a model that has not seen what the holdout hides, where its scores are features.
    """
    events = events_of(holdout.known)
    pairs, popularity = PairMatrices.of(count_kinds(events)), holdout.known.item_counts().astype(np.float64)
    own, summed = Source(item_models(pairs, ease), Sales.of(events), popularity), None
    if others is not None:
        everywhere = popularity + others.popularity
        together = pairs + PairMatrices.of(others.pairs)
        summed = Source(item_models(together, ease), Sales.of(events, others.monthly), everywhere)
    return FeatureMaker(holdout, own, summed, settings.per_scorer, settings.left_out, scorer)
