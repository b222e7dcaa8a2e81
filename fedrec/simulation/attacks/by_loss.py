"""Who took part, by the loss of histories before and after what was seen (Yeom et al., CSF 2018)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fedrec.attacks import items, membership
from fedrec.attacks.observation import PEER, SUMS, UPLOADS, Arrays
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.data.sequences import Sequences
from fedrec.simulation.attacks.view import (
    INTERACTION,
    USER,
    Floats,
    MarketView,
    membership_finding,
)


class LossAttack(Attack):
    """The loss of those who took part falls more than that of others."""

    needs = frozenset({Observed.ROUNDS})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """In one market."""
        histories, member = view.subjects
        for observer in (UPLOADS, SUMS):
            if not view.steps(observer):
                continue  # never sampled
            gains = np.mean([_gain(view, histories, *step) for step in view.steps(observer)], axis=0)
            label = "loss before and after" if observer == UPLOADS else "loss before the first and after the last round"
            known = ~np.isnan(gains)
            users = membership.of_users(gains)
            of_interactions = {"scores": gains[known], "member": np.repeat(member, known.sum(axis=1))}
            for seen in (observer,) if observer == UPLOADS else (SUMS, PEER):
                yield membership_finding(view, USER, seen, label, users, member)
                yield membership_finding(view, INTERACTION, seen, label, **of_interactions)
            if observer == UPLOADS:
                shuffled = view.generator("labels").permutation(member)
                control = "random labels: .5"
                yield replace(membership_finding(view, USER, observer, label, users, shuffled), control=control)


def _gain(view: MarketView, histories: Sequences, before: Arrays, after: Arrays) -> Floats:
    losses = [membership.position_losses(items.load(view.model, state), histories) for state in (before, after)]
    return losses[0] - losses[1]
