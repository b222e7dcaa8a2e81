"""The losses that a recipe can name, against loops over rows and items."""

import math

import pytest
import torch
from torch.nn import functional as F

from fedrec.components import Alike, Capability, Items, components, find
from fedrec.losses.negatives import uniform_negatives
from tests.losses.losses import built

ITEMS, ROWS, WIDTH = 9, 5, 4
KINDS = [name for name, one in components("loss").items() if one.origin == "fedrec"]
APART = [kind for kind in KINDS if Capability.USER_PRIVACY in find("loss", kind).capabilities]


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(ITEMS, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)
    semantics = F.normalize(torch.randn(ITEMS, 3, generator=generator, dtype=torch.float64), dim=1)
    targets = torch.randint(ITEMS, (ROWS,), generator=generator)
    return queries, keys, targets, Items(semantics, torch.ones(ITEMS, dtype=torch.bool))


def value(kind, seed=0, weights=None, **settings):
    queries, keys, targets, items = inputs(seed)
    torch.manual_seed(7)
    return built(kind, items, **settings)(queries, keys, targets, weights)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_the_sum_under_equal_weights(kind):
    equal = torch.full((ROWS,), 1 / ROWS, dtype=torch.float64)
    torch.testing.assert_close(value(kind), value(kind, weights=equal))
    assert value(kind).shape == ()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_add_up(kind):
    """The sum under w is sum_n w_n times the loss of row n; a row of weight zero changes nothing."""
    parts = [value(kind, weights=F.one_hot(torch.tensor(row), ROWS).double()) for row in range(ROWS)]
    weights = torch.tensor([0.1, 0.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        value(kind, weights=weights), sum(w * part for w, part in zip(weights, parts, strict=True))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_better_target_costs_less(kind):
    queries, keys, targets, items = inputs()
    loss = built(kind, items)
    torch.manual_seed(1)
    gradient = torch.autograd.grad(loss.hard()(queries, keys, targets), queries)[0]
    towards = (gradient * keys[targets]).sum(dim=1)
    assert (towards < 0).any()
    assert math.isfinite(float(loss(queries, keys, targets).detach()))


@pytest.mark.parametrize("kind", APART)
def test_from_scores_it_is_the_same(kind):
    queries, keys, targets, items = inputs()
    loss = built(kind, items)
    each = loss.of_scores(queries @ keys.T, targets)
    assert each.shape == (ROWS,)
    torch.testing.assert_close(each.mean(), loss(queries, keys, targets))


@pytest.mark.parametrize("kind", KINDS)
def test_items_that_look_alike(kind):
    """Distinct keys and places give what a key for each item gives."""
    queries, keys, targets, items = inputs()
    place = torch.tensor([0, 1, 2, 0, 1, 3, 3, 3, 2])
    queries = torch.cat([queries, torch.ones(ROWS, 1, dtype=torch.float64)], dim=1)
    distinct = torch.cat([keys[:4], torch.zeros(4, 1, dtype=torch.float64)], dim=1)
    loss = built(kind, items)
    torch.manual_seed(3)
    whole = loss(queries, distinct[place], targets)
    torch.manual_seed(3)
    counts = torch.bincount(place).double().log()
    torch.testing.assert_close(loss(queries, distinct, targets, alike=Alike(place, counts)), whole)


def test_cross_entropy_is_torchs():
    queries, keys, targets, _ = inputs()
    torch.testing.assert_close(value("ce"), F.cross_entropy(queries @ keys.T, targets))
    torch.testing.assert_close(value("s2ce", lam=0.0), F.cross_entropy(queries @ keys.T, targets))


def test_hard_targets_of_s2ce_are_cross_entropy():
    queries, keys, targets, items = inputs()
    loss = built("s2ce", items)
    torch.testing.assert_close(loss.hard()(queries, keys, targets), F.cross_entropy(queries @ keys.T, targets))
    assert loss.perplexity > 1
    assert loss.hard().perplexity is None


@pytest.mark.parametrize(("calibration", "power"), [(0.0, 1.0), (1.0, 3 / 8), (0.5, 11 / 16)])
def test_gbce_by_loops(calibration, power):
    """3 of 8 others are drawn: a = 3/8; b = a (t (1 - 8/3) + 8/3) = 1 - 5/8 t."""
    queries, keys, targets, _ = inputs()
    torch.manual_seed(7)
    negatives = uniform_negatives(targets, ITEMS, 3)
    total = 0.0
    for row in range(ROWS):
        own = torch.sigmoid(queries[row] @ keys[targets[row]]) ** power
        others = [torch.log(1 - torch.sigmoid(queries[row] @ keys[item])) for item in negatives[row]]
        total += -(torch.log(own) + sum(others)) / 4
    torch.testing.assert_close(value("gbce", negatives=3, calibration=calibration), total / ROWS)


def test_bpr_by_loops():
    queries, keys, targets, _ = inputs()
    torch.manual_seed(7)
    negatives = uniform_negatives(targets, ITEMS, 3)
    total = 0.0
    for row in range(ROWS):
        own = queries[row] @ keys[targets[row]]
        total += sum(-torch.log(torch.sigmoid(own - queries[row] @ keys[item])) for item in negatives[row]) / 3
    torch.testing.assert_close(value("bpr", negatives=3), total / ROWS)


def test_negatives_are_uniform_over_the_others():
    """20,000 draws over 4 others: each within five standard deviations, sqrt(20000 * .25 * .75) = 61."""
    torch.manual_seed(0)
    drawn = uniform_negatives(torch.tensor([2]), 5, 20_000)
    counts = torch.bincount(drawn[0], minlength=5)
    assert counts[2] == 0
    assert ((counts[[0, 1, 3, 4]] - 5000).abs() < 5 * 61).all()
