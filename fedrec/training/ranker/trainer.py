"""The shared ranker in one market: it learns to find what the market hides from itself."""

import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedrec.algorithms.ranker import Ranker as RankerAlgorithm
from fedrec.algorithms.ranker import RankerSettings
from fedrec.components.algorithm import algorithm_of
from fedrec.data.splits import Holdout
from fedrec.errors import RunError, UserError
from fedrec.exchange.statistics import Statistics
from fedrec.metrics.ranking import ndcg
from fedrec.models.ranker import Ranker
from fedrec.recipe import Recipe
from fedrec.training.device import choose_device
from fedrec.training.evaluation import Scorer
from fedrec.training.known import Known, Scores
from fedrec.training.loop import EpochResult
from fedrec.training.prepared import PreparedMarket
from fedrec.training.ranker.features import FeatureMaker
from fedrec.training.ranker.lists import ListBatch, Lists, Moments, TargetLists
from fedrec.training.ranker.sources import features_of, features_of_statistics
from fedrec.training.stages import Finished, LocalTrainer, Pace, StageSettings

_BELOW = 1e6  # how far items that are no candidates stand below those that are
_TIE = 1e-5  # how far the most popular item stands above one that nobody had, where the model says the same of both
_SCORED = 50_000  # candidates at a time


class RankerTrainer(LocalTrainer[ListBatch]):
    """``others``: statistics of the other markets, held back as they came; None for a market that is alone."""

    model: Ranker
    carried = ("moments_",)

    def __init__(
        self,
        stages: StageSettings,
        market: PreparedMarket,
        model: Ranker,
        settings: RankerSettings,
        others: Statistics | None,
        scores: Scores | None,
    ) -> None:
        super().__init__(stages, market, model.to(choose_device(stages.training.device)))
        self.settings = settings
        self.others = others
        self.scores = scores
        self._learned_now: list[TargetLists] | None = None

    @classmethod
    def of(cls, recipe: Recipe, market: PreparedMarket, known: Known) -> Self:
        """On the statistics of all markets, or on the market's own alone."""
        algorithm, others, scores = algorithm_of(recipe), known.statistics, known.scores
        if not isinstance(algorithm, RankerAlgorithm):
            raise UserError(f"algorithm.kind {recipe.algorithm.kind!r} ranks no candidates")
        model = algorithm.build_over(others is not None, scores is not None)
        return cls(StageSettings.of(recipe), market, model, algorithm.settings, others, scores)

    @cached_property
    def _hidden(self) -> TargetLists:
        """Of what the market hides from itself."""
        hidden = self.market.pseudo_holdout
        candidates = self._features(hidden).everyone()
        return TargetLists(Lists(candidates, Moments.of(candidates.features)), hidden)

    @cached_property
    def _validation(self) -> TargetLists:
        holdout = self.market.validation
        candidates = self._features(holdout).everyone()
        return TargetLists(Lists(candidates, self._hidden.lists.moments), holdout)

    @property
    def _learned(self) -> list[TargetLists]:
        return self._learned_now or [self._hidden]

    @property
    def weight(self) -> float:
        """Targets that are learned from; one at least, for a market without any sends what it was sent."""
        return float(max(1, len(self._hidden)))

    @property
    def refit_weight(self) -> float:
        """With those of validation users."""
        return float(max(1, len(self._hidden) + len(self._validation)))

    def finetune(self) -> Finished:
        """Nothing is adapted. The market's own moments go with the model; rounds have found them."""
        if not self.model.moments_spread.any():
            self._keep_moments()
        return Finished(self.state(), None, 0, 0.0)

    def pretrain_round(
        self,
        server_round: int,
        pace: Pace | None = None,
        term: Callable[[], Tensor] | None = None,
        rounds: int | None = None,
    ) -> EpochResult:
        """One pass over all targets."""
        result = super().pretrain_round(server_round, pace, term, rounds)
        self._keep_moments()
        return result

    def refit_round(self, server_round: int, rounds: int | None = None) -> EpochResult:
        """One pass over all targets and those of validation users."""
        self._learned_now = [self._hidden, self._validation]
        try:
            return self.pretrain_round(server_round, rounds=rounds)
        finally:
            self._learned_now = None

    def train_alone(self, rounds: int | None = None) -> Finished:
        """As many rounds as validation likes, then as many from the beginning with validation users too."""
        started, first = time.perf_counter(), self.state()
        chosen = self.choose_rounds(rounds)
        self.load(first)
        for server_round in range(1, chosen.best_index + 1):
            self.refit_round(server_round, rounds)
        return Finished(self.finetune().state, chosen.score, 0, time.perf_counter() - started)

    def validation(self) -> float:
        """NDCG@10 on validation users."""
        popular = _popular(self.market.validation.known.item_counts())
        ranks = self._validation.ranks(self._scores(self._validation.lists, popular))
        return float(ndcg(ranks, 10, self._validation.holdout.rows).mean())

    def scorer(self, holdout: Holdout) -> Scorer:
        """Scores of candidates, ties broken by popularity; all other items below them, the more popular ones first."""
        maker = self._features(holdout)
        moments = Moments(self.model.moments_mean.cpu().numpy(), self.model.moments_spread.cpu().numpy())
        popular = _popular(maker.own.popularity)
        below = (popular - _BELOW).astype(np.float32)

        def score(users: NDArray[np.int64]) -> NDArray[np.float32]:
            result = np.tile(below, (len(users), 1))
            for block in maker.blocks(len(users)):
                lists = Lists(maker.block(users[block]), moments)
                result[block[lists.candidates.rows], lists.candidates.items] = self._scores(lists, popular)
            return result

        return score

    def batches(self, generator: np.random.Generator) -> Iterable[ListBatch]:
        """Every target that is a candidate once, with freshly drawn candidates beside it."""
        which = np.repeat(np.arange(len(self._learned)), [len(lists) for lists in self._learned])
        example = np.concatenate([np.arange(len(lists)) for lists in self._learned])
        order, size = generator.permutation(len(which)), self.stages.training.batch_size
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            parts = [example[chosen[which[chosen] == number]] for number in range(len(self._learned))]
            yield ListBatch.joined(
                [
                    lists.batch(examples, self.settings.sampled, generator)
                    for lists, examples in zip(self._learned, parts, strict=True)
                    if len(examples)
                ]
            )

    def loss(self, batch: ListBatch, soft_targets: bool) -> tuple[Tensor, int]:
        """Cross-entropy of the target among what was drawn; there are no soft targets."""
        candidates, users, there = (
            torch.from_numpy(part).to(self.device) for part in (batch.candidates, batch.users, batch.there)
        )
        scores = self.model(candidates, users[:, None].expand(-1, candidates.shape[1], -1))  # [B, K]
        scores = scores.masked_fill(~there, -torch.inf)
        first = torch.zeros(len(scores), dtype=torch.int64, device=self.device)
        return F.cross_entropy(scores, first), len(scores)

    def states(self, batch: ListBatch) -> Tensor:
        """A ranker of candidates has no states of users."""
        raise RunError("a ranker of candidates has no states of users")

    def item_vectors(self) -> None:
        """A ranker of candidates has no vectors of items."""

    def lists_of(self, holdout: Holdout, own: Statistics, everyone: Statistics) -> TargetLists:
        """Lists whose features are made of statistics alone, for whoever has nothing but what left the markets."""
        summed = everyone if self.others is not None else None
        maker = features_of_statistics(holdout, own, summed, self.settings, self.market.recipe.ease)
        candidates = maker.everyone()
        return TargetLists(Lists(candidates, Moments.of(candidates.features)), holdout)

    def losses(self, lists: TargetLists) -> NDArray[np.float64]:
        """Cross-entropy of every target that is a candidate among all of its list, [E], in nats."""
        nothing = np.zeros(lists.holdout.histories.item_count)
        rows, scores = lists.lists.candidates.rows, self._scores(lists.lists, nothing).astype(np.float64)
        top = np.full(len(lists.lists.candidates), -np.inf)
        np.maximum.at(top, rows, scores)
        total = np.bincount(rows, np.exp(scores - top[rows]), minlength=len(top))
        return np.asarray(np.log(total[rows[lists.found]]) + top[rows[lists.found]] - scores[lists.found])

    def _features(self, holdout: Holdout) -> FeatureMaker:
        scorer = None if self.scores is None else self.scores(holdout)
        return features_of(holdout, self.others, self.settings, self.market.recipe.ease, scorer)

    def _keep_moments(self) -> None:
        moments = self._hidden.lists.moments
        self.model.moments_mean.copy_(torch.from_numpy(moments.mean))
        self.model.moments_spread.copy_(torch.from_numpy(moments.spread))

    @torch.inference_mode()
    def _scores(self, lists: Lists, popular: NDArray[np.float64]) -> NDArray[np.float32]:
        """Of all candidates [N]; an untrained model, which says the same of all, ranks by ``popular`` [I]."""
        self.model.eval()
        candidates = lists.candidates
        rows, result = candidates.rows, np.empty(len(candidates.items), np.float32)
        for start in range(0, len(result), _SCORED):
            place = np.arange(start, min(start + _SCORED, len(result)))
            inputs, users = (
                torch.from_numpy(part).to(self.device) for part in (lists.inputs(place), candidates.users[rows[place]])
            )
            result[place] = self.model(inputs, users).cpu().numpy() + _TIE * popular[candidates.items[place]]
        return result


def _popular(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """How popular items are, [I], from 0 to below 1."""
    logs = np.log1p(counts.astype(np.float64))
    return np.asarray(logs / (1 + logs.max(initial=0.0)))
