"""Who took part, and what one known item gives away, by the statistics that a ranker's features are made of."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedrec.attacks.known_item import given_away
from fedrec.attacks.observation import PEER, SUMS, UPLOADS, ObserverName
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.data.sequences import Sequences
from fedrec.exchange.payload import Array
from fedrec.exchange.statistics import PAIR_KINDS, Statistics, count_statistics, read_statistics, sum_statistics
from fedrec.simulation.attacks.view import KNOWN_ITEM, USER, Floats, MarketView, membership_finding
from fedrec.training.ranker.holdouts import events_of
from fedrec.training.ranker.sources import market_statistics

_KEYS = 2**32  # more than either half of a cell's key


class StatisticsAttack(Attack):
    """How much of what a user's own history would add, in every kind of count together, is among what was told."""

    needs = frozenset({Observed.STATISTICS})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """In one market."""
        histories, member = view.subjects
        own = cells_of(histories)
        for observer, statistics in told(view).items():
            yield membership_finding(view, USER, observer, "statistics", found_in(own, statistics), member)
        everything = market_statistics(view.replay.nodes[view.name].prepare(view.recipe).train, 1)
        scores = found_in(own, everything)
        exact = membership_finding(view, USER, UPLOADS, "all statistics, not held back", scores, member)
        yield replace(exact, control="must be caught")


class KnownItemAttack(Attack):
    """Somebody knows one item of a user; where all who have it have another, or have it in one month, that is known."""

    needs = frozenset({Observed.STATISTICS})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """Over all interactions of the market's users, each of which might be the one that is known."""
        known = view.replay.nodes[view.name].prepare(view.recipe).train.items
        for observer, statistics in told(view).items():
            away = given_away(statistics)
            shares = {"another item": away.item, "how long between": away.time, "month": away.month}
            figures = {name: float(sure[known].mean()) for name, sure in shares.items()}
            figures["items"] = float(away.items[known].mean())
            yield Finding(view.name, KNOWN_ITEM, observer, "statistics", figures)


def told(view: MarketView) -> dict[ObserverName, Statistics]:
    """By observer, what is known of the market's items: its own counts, those of all, those of all but a peer."""
    keys = view.everyone[view.name].items
    by_market = {
        name: _among(keys, [str(key) for key in payload.texts["items"]], payload.arrays)
        for name, payload in view.observation.statistics.items()
    }
    found: dict[ObserverName, Statistics] = {
        UPLOADS: by_market[view.name],
        SUMS: sum_statistics([by_market[name] for name in sorted(by_market)]),
    }
    peers = {
        name: len(set(view.everyone[name].items) & set(keys)) for name in view.observation.others if name != view.name
    }
    if peers:
        peer = max(peers, key=lambda name: (peers[name], name))
        found[PEER] = _among(keys, view.everyone[peer].items, view.observation.others[peer])
    return found


def cells_of(histories: Sequences) -> list[NDArray[np.int64]]:
    """What each history by itself would add to statistics, [U] arrays of what the counts are of."""
    found, size = [], histories.item_count
    for user in range(len(histories)):
        events = events_of(histories.take(np.array([user])))
        items, places = np.unique(events.items, return_inverse=True)  # few: matrices over all would be mostly empty
        few = replace(events, items=places.astype(np.int64), item_count=max(len(items), 1))
        keys, _ = count_statistics(few, 1).cells()
        kind, first = np.divmod(keys[:, 0], few.item_count)
        second = np.where(kind < len(PAIR_KINDS), items[np.minimum(keys[:, 1], len(items) - 1)], keys[:, 1])
        found.append(_joined(np.column_stack([kind * size + items[first], second])))
    return found


def found_in(own: list[NDArray[np.int64]], statistics: Statistics) -> Floats:
    """The share of each user's ``own`` cells (:func:`cells_of`) that are told, [U]: 0 of one without any."""
    keys, _ = statistics.cells()
    known = _joined(keys)
    return np.array([np.isin(cells, known).mean() if len(cells) else 0.0 for cells in own])


def _joined(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(keys[:, 0] * _KEYS + keys[:, 1])


def _among(keys: list[str], theirs: list[str], arrays: Mapping[str, Array]) -> Statistics:
    """Statistics over the items ``theirs`` as far as they are of the items ``keys``."""
    place = {key: index for index, key in enumerate(keys)}
    strangers = iter(range(len(keys), len(keys) + len(theirs)))
    index = np.array([place[key] if key in place else next(strangers) for key in theirs], np.int64)
    whole = read_statistics(arrays, len(theirs), 1).placed(index, len(keys) + len(theirs))
    return whole.restricted(np.arange(len(keys)))
