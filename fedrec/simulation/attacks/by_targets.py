"""Who took part, by the loss of a ranker on the item it would have learned to find, before and after what was seen.

Features are made of the statistics that left, never of what the market alone knows: else its counts, which have those
who took part in them, would tell them apart without any model.
"""

from collections.abc import Iterator

import numpy as np
import torch

from fedrec.attacks.observation import PEER, SUMS, UPLOADS, Arrays, ObserverName
from fedrec.clients.methods import make_trainer
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.data.splits import Holdout
from fedrec.simulation.attacks.by_statistics import told
from fedrec.simulation.attacks.view import USER, Floats, MarketView, membership_finding
from fedrec.training.ranker.holdouts import pseudo_holdout
from fedrec.training.ranker.lists import TargetLists
from fedrec.training.ranker.trainer import RankerTrainer


class TargetsAttack(Attack):
    """The loss of those whose hidden item was trained on falls more than that of others."""

    needs = frozenset({Observed.RANKER, Observed.STATISTICS})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """In one market."""
        histories, member = view.subjects
        trainer = make_trainer(view.replay.nodes[view.name], view.recipe, "federated")
        if not isinstance(trainer, RankerTrainer) or trainer.scores is not None:
            return  # nobody outside can make the score of another model for these features
        holdout = pseudo_holdout(histories, view.recipe.evaluation.holdout == "basket")
        everywhere = told(view)
        for observer in (UPLOADS, SUMS):
            if not view.steps(observer):
                continue  # never sampled
            lists = trainer.lists_of(holdout, everywhere[observer], everywhere[SUMS])
            gains = np.mean([_gain(trainer, lists, *step) for step in view.steps(observer)], axis=0)
            label = "loss of a ranker before and after"
            for seen in _seen_by(observer):
                yield membership_finding(view, USER, seen, label, _of_users(gains, lists, holdout, len(member)), member)


def _seen_by(observer: ObserverName) -> tuple[ObserverName, ...]:
    return (observer,) if observer == UPLOADS else (SUMS, PEER)


def _gain(trainer: RankerTrainer, lists: TargetLists, before: Arrays, after: Arrays) -> Floats:
    """How far the loss of every target that is a candidate falls, [E]."""
    losses = []
    for state in (before, after):
        trainer.load({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        losses.append(trainer.losses(lists))
    return losses[0] - losses[1]


def _of_users(gains: Floats, lists: TargetLists, holdout: Holdout, count: int) -> Floats:
    """The mean gain of each of ``count`` people; 0 of one without a target to be found."""
    candidates = lists.lists.candidates
    people = holdout.users[candidates.rows[lists.found]]
    totals = np.bincount(people, gains, minlength=count)
    return np.asarray(totals / np.maximum(np.bincount(people, minlength=count), 1))
