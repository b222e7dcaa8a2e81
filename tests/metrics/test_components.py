"""The metrics that a recipe can name, against loops over users."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.components import Ranked, components, find

KINDS = [name for name, one in components("metric").items() if one.origin == "fedrec"]


def figure(kind, ranked):
    component = find("metric", kind)
    return component(component.Settings())(ranked)


def made(seed, users=6, items=12, cutoff=4):
    """Random rankings, by sorting: everybody has one to three held-out items, and few items are nobody's."""
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(items) for _ in range(users)])
    counts = generator.integers(0, 5, items)
    rows, ranks = [], []
    for user in range(users):
        for item in generator.choice(items, generator.integers(1, 4), replace=False):
            rows.append(user)
            ranks.append(float(np.flatnonzero(orders[user] == item)[0]))
    top = orders[:, :cutoff].copy()
    top[0, 2:] = -1
    ranked = np.ones(items, bool)
    ranked[-1] = False
    top[top == items - 1] = -1
    return Ranked(np.array(ranks), np.array(rows), top, counts, ranked, 9, cutoff)


@given(st.integers(0, 10_000), st.sampled_from(KINDS))
def test_values_lie_in_the_bounds_and_there_is_one_a_user_or_one(seed, kind):
    value = np.asarray(figure(kind, made(seed)))
    low, high = find("metric", kind).bounds
    assert value.shape in {(), (6,)}
    assert ((value >= low) & (value <= high)).all()


@given(st.integers(0, 10_000))
def test_by_loops(seed):
    ranked = made(seed)
    found = {kind: figure(kind, ranked) for kind in ("precision", "novelty", "recall", "mrr", "ndcg")}
    for user in range(6):
        own = sorted(ranked.ranks[ranked.rows == user])
        hits = [rank for rank in own if rank < 4]
        assert found["precision"][user] == pytest.approx(len(hits) / 4)
        assert found["recall"][user] == pytest.approx(len(hits) / len(own))
        assert found["mrr"][user] == pytest.approx(1 / (1 + hits[0]) if hits else 0)
        best = sum(1 / math.log2(place + 2) for place in range(min(4, len(own))))
        assert found["ndcg"][user] == pytest.approx(sum(1 / math.log2(rank + 2) for rank in hits) / best)
        shown = [item for item in ranked.top[user].tolist() if item >= 0]
        bits = [-math.log2((ranked.counts[item] + 1) / 10) for item in shown]
        assert found["novelty"][user] == pytest.approx(sum(bits) / len(bits) if bits else 0)


@given(st.integers(0, 10_000))
def test_coverage_counts_what_anyone_is_shown(seed):
    ranked = made(seed)
    seen = {item for row in ranked.top.tolist() for item in row if item >= 0}
    assert figure("coverage", ranked) == pytest.approx(len(seen) / 11)
