"""Who took part, and what sells, by counts of item pairs."""

from collections.abc import Iterator

import numpy as np

from fedrec.attacks import items, membership
from fedrec.attacks.observation import PEER, SUMS, UPLOADS, ObserverName
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.exchange.noised_pairs import PAIRS, read_triangle, symmetric
from fedrec.exchange.pairs import read_pairs, read_summed
from fedrec.simulation.attacks.view import (
    ITEM_SET,
    USER,
    Floats,
    MarketView,
    membership_finding,
    ranked_finding,
)


class PairsAttack(Attack):
    """Whose pairs are among those that were counted."""

    needs = frozenset({Observed.PAIRS})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """In one market."""
        histories, member = view.subjects
        for observer in (UPLOADS, SUMS):
            scores = membership.pair_scores(histories, _pairs(view, observer))
            yield membership_finding(view, USER, observer, "item pairs", scores, member)
        for by, known in _peers(view):
            yield membership_finding(view, USER, PEER, by, membership.pair_scores(histories, known), member)
        generator = view.generator("best sellers by pairs")
        truth = items.best_sellers(view.everyone[view.name].train.item_counts())
        totals = _pairs(view, UPLOADS).sum(axis=1) + generator.random(len(truth)) * 1e-9
        yield ranked_finding(view, ITEM_SET, UPLOADS, "item pairs", totals, truth)


def _pairs(view: MarketView, observer: ObserverName) -> Floats:
    """What the server knows of this market's item pairs, [I, I]: its own, or the sum of all."""
    keys = view.everyone[view.name].items
    if observer == UPLOADS:
        return _sent(view, view.name)[1]
    total = np.zeros((len(keys), len(keys)))
    for name in view.observation.pairs:
        theirs, matrix = _sent(view, name)
        _add(view, total, theirs, matrix)
    return total


def _peers(view: MarketView) -> Iterator[tuple[str, Floats]]:
    """What the peer with the most items in common was sent that was made of pairs: vectors, counts of all."""
    keys = view.everyone[view.name].items
    peers = {name: len(set(other.items) & set(keys)) for name, other in view.everyone.items() if name != view.name}
    if not peers:
        return
    peer = max(peers, key=lambda name: (peers[name], name))
    theirs, size = view.everyone[peer].items, (len(keys), len(keys))
    if peer in view.observation.vectors:
        vectors = np.asarray(view.observation.vectors[peer], np.float64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        alike = np.zeros(size)
        _add(view, alike, theirs, unit @ unit.T)
        yield "item vectors that a peer was sent", alike
    if peer in view.observation.counts:
        arrays, counted = view.observation.counts[peer], np.zeros(size)
        if PAIRS in arrays:
            matrix = symmetric(read_triangle(arrays, len(theirs)), len(theirs)).astype(np.float64)
        else:
            summed = read_summed(arrays, len(theirs))
            matrix = summed.counts.restricted(summed.own).matrix().toarray()
        _add(view, counted, theirs, matrix)
        yield "item pairs of all that a peer was sent", counted


def _add(view: MarketView, total: Floats, theirs: list[str], matrix: Floats) -> None:
    place = {key: index for index, key in enumerate(view.everyone[view.name].items)}
    common = [(place[key], index) for index, key in enumerate(theirs) if key in place]
    if common:
        here, there = (np.array(part) for part in zip(*common, strict=True))
        total[np.ix_(here, here)] += matrix[np.ix_(there, there)]


def _sent(view: MarketView, name: str) -> tuple[list[str], Floats]:
    payload = view.observation.pairs[name]
    keys = [str(key) for key in payload.texts["items"]]
    if PAIRS in payload.arrays:
        return keys, symmetric(read_triangle(payload.arrays, len(keys)), len(keys)).astype(np.float64)
    diagonal = bool((payload.arrays["first"] == payload.arrays["second"]).any())
    return keys, read_pairs(payload.arrays, len(keys), 1, diagonal).matrix().toarray()
