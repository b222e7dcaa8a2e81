"""Matrix factorisation and its graph against dense algebra."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.models.factorisation import Factorisation, bipartite_adjacency, bpr_loss
from fedrec.seeds import seeded_torch

USERS, ITEMS = 4, 5
EDGES = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), min_size=1, max_size=15)


def graph(edges: list[tuple[int, int]]) -> torch.Tensor:
    users, items = torch.tensor(edges).T
    return bipartite_adjacency(users, items, USERS, ITEMS)


def dense(edges: list[tuple[int, int]]) -> np.ndarray:
    """1 / sqrt(degree of either end) for every edge, in both directions; whoever has no edge has a row of zeros."""
    size = USERS + ITEMS
    matrix = np.zeros((size, size))
    for user, item in set(edges):
        degree = len({other for one, other in edges if one == user})
        popularity = len({one for one, other in edges if other == item})
        matrix[user, USERS + item] = matrix[USERS + item, user] = 1 / math.sqrt(degree * popularity)
    return matrix


def small(edges: list[tuple[int, int]] | None, layers: int) -> Factorisation:
    with seeded_torch(0, "test"):
        return Factorisation(USERS, ITEMS, 3, None if edges is None else graph(edges), layers)


def test_a_graph_is_made_without_a_warning():
    """Warnings are errors in these tests, and noise in a user's terminal; torch gives this one once a process."""
    torch.set_warn_always(True)
    try:
        graph([(0, 0)])
    finally:
        torch.set_warn_always(False)


@settings(max_examples=60, deadline=None)
@given(EDGES)
def test_adjacency_by_loops(edges):
    """Repeated pairs count once."""
    np.testing.assert_allclose(graph(edges).to_dense().numpy(), dense(edges), rtol=1e-6, atol=0)


@settings(max_examples=60, deadline=None)
@given(EDGES, st.integers(1, 4))
def test_propagation_is_the_mean_of_powers(edges, layers):
    """(E + A E + ... + A^L E) / (L + 1), and its gradient: the transpose of that map."""
    model = small(edges, layers)
    vectors = model.vectors.detach().numpy().astype(np.float64)
    mean = sum(np.linalg.matrix_power(dense(edges), power) for power in range(layers + 1)) / (layers + 1)
    users, items = model()
    assert users.shape == (USERS, 3)
    assert items.shape == (ITEMS, 3)
    found = torch.cat([users, items])
    np.testing.assert_allclose(found.detach().numpy(), mean @ vectors, rtol=1e-5, atol=1e-7)
    weight = torch.randn(USERS + ITEMS, 3, generator=torch.Generator().manual_seed(1))
    (found * weight).sum().backward()
    np.testing.assert_allclose(model.vectors.grad.numpy(), mean.T @ weight.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 3])
def test_without_a_graph_vectors_are_as_they_are(layers):
    model = small(None, layers)
    users, items = model()
    assert torch.equal(torch.cat([users, items]), model.vectors)


def test_fresh_vectors_are_small_whatever_their_width():
    """The norm is about 0.1; mean squares of 400 vectors within a tenth."""
    for dimension in (2, 64):
        with seeded_torch(0, "test"):
            model = Factorisation(200, 200, dimension)
        square = float(model.vectors.detach().square().sum(dim=1).mean())
        assert square == pytest.approx(0.01, rel=0.15)


def test_loss_by_hand():
    """Margins 2 and -1, squared norms (1 + 4) + 4 + 0 = 9 and 1 + 0 + 1 = 2, penalty 0.1.

    u = (1, 2), p = (2, 0), n = (0, 0): u (p - n) = 2. u = (0, 1), p = (0, 0), n = (0, 1): -1.
    """
    user = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    positive = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    negative = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    losses = [math.log(1 + math.exp(-2)) + 0.05 * 9, math.log(1 + math.exp(1)) + 0.05 * 2]
    assert float(bpr_loss(user, positive, negative, 0.1)) == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert float(bpr_loss(user, positive, negative, 0.0)) == pytest.approx((sum(losses) - 0.55) / 2, rel=1e-6)


def test_the_gradient_pulls_the_positive_and_pushes_the_negative():
    """d/dp -log s(m) = -(1 - s(m)) u, by hand at m = 0: minus half of the user; the negative gets the opposite."""
    user = torch.tensor([[0.5, -1.0]])
    positive, negative = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    bpr_loss(user, positive, negative, 0.3).backward()
    assert positive.grad.tolist() == [[-0.25, 0.5]]
    assert negative.grad.tolist() == [[0.25, -0.5]]


def test_a_hopeless_margin_stays_finite():
    far = torch.full((1, 2), 1e3)
    assert math.isfinite(float(bpr_loss(far, -far, far, 0.0)))
