"""What sells in a market, by what the model came to prefer."""

from collections.abc import Iterator

import numpy as np

from fedrec.attacks import items
from fedrec.attacks.observation import PEER, SUMS, UPLOADS
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.simulation.attacks.view import (
    ITEM_SET,
    Floats,
    MarketView,
    ranked_finding,
)


class BestSellersAttack(Attack):
    """Items whose scores rise are those that are bought."""

    needs = frozenset({Observed.ROUNDS})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """In one market."""
        truth = items.best_sellers(view.everyone[view.name].train.item_counts())
        for observer in (UPLOADS, SUMS):
            found: list[Floats] = []
            if not view.steps(observer):
                continue
            for before, after in view.steps(observer):
                ends = [
                    items.preference(items.load(view.model, state), view.generator("probes"))
                    for state in (before, after)
                ]
                found.append(ends[1] - ends[0])
            for seen in (observer,) if observer == UPLOADS else (SUMS, PEER):
                yield ranked_finding(
                    view, ITEM_SET, seen, "what the model came to prefer", np.mean(found, axis=0), truth
                )
