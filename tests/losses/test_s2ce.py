"""S2CE against its dense definition, S2CE = -sum_i y_i log softmax(z)_i with y = (1 - lam) onehot(t) + lam q(t)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fedrec.losses.s2ce import SoftTargets, mean_log_partition, s2ce, semantic_neighbours

ITEMS, WIDTH, DIMENSION = 11, 5, 4


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_q(semantics, k, tau_s, known=None):
    """q as a dense [I, I] matrix in float64, by loops: cosines to the other known items, the k largest, a softmax."""
    vectors = np.asarray(semantics, dtype=np.float64)
    items = len(vectors)
    known = np.ones(items, dtype=bool) if known is None else np.asarray(known)
    q = np.zeros((items, items))
    for t in range(items):
        if not known[t]:
            continue
        cosines = {}
        for i in range(items):
            if i != t and known[i]:
                norms = math.sqrt(vectors[t] @ vectors[t]) * math.sqrt(vectors[i] @ vectors[i])
                cosines[i] = float(vectors[t] @ vectors[i]) / norms
        nearest = sorted(cosines, key=cosines.__getitem__, reverse=True)[:k]
        total = sum(math.exp((cosines[i] - cosines[nearest[0]]) / tau_s) for i in nearest)
        for i in nearest:
            q[t, i] = math.exp((cosines[i] - cosines[nearest[0]]) / tau_s) / total
    return q


def dense(soft, items):
    """The [I, I] matrix that the sparse soft targets stand for."""
    q = np.zeros((items, items))
    for t, (row, weights) in enumerate(zip(soft.neighbours.tolist(), soft.weights.tolist(), strict=True)):
        for i, weight in zip(row, weights, strict=True):
            q[t, i] += weight
    return q


def dense_s2ce(queries, keys, targets, q, lam):
    """The definition. A target without neighbours (zero row of q) keeps y = onehot."""
    log_p = torch.log_softmax(queries @ keys.T, dim=1)
    y = torch.zeros_like(log_p)
    for n, t in enumerate(targets.tolist()):
        moved = lam if q[t].sum() > 0 else 0.0
        y[n] = moved * torch.as_tensor(q[t], dtype=log_p.dtype)
        y[n, t] += 1 - moved
    return -(y * log_p).sum(dim=1).mean()


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("scores_held", [1, 40, 8192])
def test_gather_form_equals_the_dense_definition_in_value_and_gradient(lam, scores_held):
    """-sum_i y_i (z_i - logsumexp z) = logsumexp z - sum_i y_i z_i, because sum_i y_i = 1.

    Everything is float64, so both forms agree to rounding, and so do their gradients by queries and keys.
    """
    soft = semantic_neighbours(random(0, ITEMS, WIDTH), k=3, tau_s=0.2)
    targets = torch.tensor([0, 10, 4, 4, 7, 2])
    inputs = [random(1, 6, DIMENSION).requires_grad_(), random(2, ITEMS, DIMENSION).requires_grad_()]

    expected = dense_s2ce(*inputs, targets, dense(soft, ITEMS), lam)
    actual = s2ce(*inputs, targets, soft, lam, scores_held)

    # the weights of q may be stored in single precision: a row then sums to one up to 1e-7, hence not 1e-12
    tolerance = 1e-12 if soft.weights.dtype == torch.float64 else 1e-6
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    for one, other in zip(torch.autograd.grad(actual, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scores_held", [10, 8192])
def test_gradcheck_of_the_whole_loss(scores_held):
    soft = semantic_neighbours(random(3, 5, WIDTH), k=2, tau_s=0.5)
    soft = SoftTargets(soft.neighbours, soft.weights.double())
    targets = torch.tensor([0, 4, 2])
    inputs = (random(4, 3, 2).requires_grad_(), random(5, 5, 2).requires_grad_())
    assert torch.autograd.gradcheck(lambda h, w: s2ce(h, w, targets, soft, 0.5, scores_held), inputs)


@pytest.mark.parametrize("with_soft", [True, False])
def test_lam_zero_is_cross_entropy(with_soft):
    queries, keys, targets = random(6, 7, DIMENSION), random(7, ITEMS, DIMENSION), torch.arange(7)
    soft = semantic_neighbours(random(8, ITEMS, WIDTH), k=3, tau_s=0.1) if with_soft else None
    expected = functional.cross_entropy(queries @ keys.T, targets)
    torch.testing.assert_close(s2ce(queries, keys, targets, soft, 0.0), expected, rtol=1e-12, atol=1e-12)


def test_soft_part_pulls_towards_the_barycentre_of_the_neighbours():
    """dL/dh = E_p[w] - E_y[w] (methods, section 1), for one interaction."""
    queries, keys = random(9, 1, DIMENSION).requires_grad_(), random(10, ITEMS, DIMENSION)
    semantics, target, lam = random(11, ITEMS, WIDTH), 6, 0.4
    soft = semantic_neighbours(semantics, k=4, tau_s=0.3)
    (gradient,) = torch.autograd.grad(s2ce(queries, keys, torch.tensor([target]), soft, lam), queries)

    scores = (queries.detach() @ keys.T).numpy()[0]
    p = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    y = lam * naive_q(semantics, 4, 0.3)[target]
    y[target] += 1 - lam
    np.testing.assert_allclose(gradient.numpy()[0], (p - y) @ keys.numpy(), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    items=st.integers(2, 9),
    k=st.integers(1, 12),
    tau_s=st.sampled_from([0.05, 0.1, 1.0, 10.0]),
    held=st.sampled_from([1, 20, 2**20]),
    exact_items=st.sampled_from([0, 100]),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_soft_targets_equal_the_naive_loops(items, k, tau_s, held, exact_items, seed, data):
    """Includes k beyond the catalogue, unknown items anywhere, every chunking, and the graph, exact for so few."""
    semantics = random(seed, items, WIDTH)
    known = data.draw(st.lists(st.booleans(), min_size=items, max_size=items))
    soft = semantic_neighbours(semantics, k, tau_s, torch.tensor(known), exact_items, held)
    actual, expected = dense(soft, items), naive_q(semantics, k, tau_s, known)

    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert np.all(np.diag(actual) == 0), "an item is never its own neighbour"
    assert np.all(actual[:, ~np.array(known)] == 0), "unknown items are nobody's neighbour"
    sums = actual.sum(axis=1)
    softened = expected.sum(axis=1) > 0
    np.testing.assert_allclose(sums[softened], 1, atol=1e-6)
    assert np.all(sums[~softened] == 0)


def test_many_items_are_searched_nearly_exactly_and_always_alike():
    """Clusters, as texts of products have them; some items without a vector."""
    generator = torch.Generator().manual_seed(4)
    centres = torch.randn(40, 16, generator=generator)
    semantics = centres[torch.randint(40, (3000,), generator=generator)] + torch.randn(3000, 16, generator=generator)
    known = torch.rand(3000, generator=generator) < 0.9
    semantics[~known] = 0
    exact = semantic_neighbours(semantics, 20, 0.1, known)
    searched = semantic_neighbours(semantics, 20, 0.1, known, exact_items=0)
    same = (exact.neighbours[:, :, None] == searched.neighbours[:, None, :]).any(dim=-1)[known]  # [known, k]
    assert same.float().mean() > 0.97
    assert not (searched.neighbours == torch.arange(3000)[:, None])[searched.weights > 0].any()
    assert known[searched.neighbours[searched.weights > 0]].all()
    again = semantic_neighbours(semantics, 20, 0.1, known, exact_items=0)
    assert torch.equal(searched.neighbours, again.neighbours)
    assert torch.equal(searched.weights, again.weights)


def test_many_equal_vectors_are_all_found():
    """Items with the same text: 30 vectors of 100 items each, so the nearest 20 of each are of its own group."""
    generator = torch.Generator().manual_seed(5)
    semantics = torch.randn(30, 16, generator=generator).repeat_interleave(100, dim=0)
    shuffled = torch.randperm(3000, generator=generator)
    group = torch.arange(3000)[shuffled] // 100
    soft = semantic_neighbours(semantics[shuffled], 20, 0.1, exact_items=0)
    assert (group[soft.neighbours] == group[:, None]).all()
    assert not (soft.neighbours == torch.arange(3000)[:, None]).any()
    assert all(len(set(row)) == 20 for row in soft.neighbours.tolist())
    torch.testing.assert_close(soft.weights, torch.full((3000, 20), 1 / 20))


def test_known_defaults_to_all():
    semantics = random(12, ITEMS, WIDTH)
    default = semantic_neighbours(semantics, 3, 0.1)
    explicit = semantic_neighbours(semantics, 3, 0.1, torch.ones(ITEMS, dtype=torch.bool))
    np.testing.assert_array_equal(dense(default, ITEMS), dense(explicit, ITEMS))


def test_length_of_the_vectors_does_not_matter():
    """q is made of cosines."""
    semantics = random(13, ITEMS, WIDTH)
    lengths = torch.linspace(0.1, 9, ITEMS, dtype=torch.float64)[:, None]
    one, other = semantic_neighbours(semantics, 3, 0.1), semantic_neighbours(semantics * lengths, 3, 0.1)
    np.testing.assert_allclose(dense(one, ITEMS), dense(other, ITEMS), atol=1e-6)


def test_an_identical_twin_is_a_neighbour_but_the_item_itself_is_not():
    """Two items with the same vector: cosine one to each other, which is also the cosine to itself."""
    semantics = random(14, 4, WIDTH)
    semantics[1] = semantics[0]
    q = dense(semantic_neighbours(semantics, 1, 0.1), 4)
    assert q[0, 1] == q[1, 0] == 1
    assert q[0, 0] == q[1, 1] == 0


def test_an_unknown_item_keeps_its_hard_target():
    """Its loss is plain cross-entropy at any lam, and others' losses are computed without it."""
    semantics, known = random(15, ITEMS, WIDTH), torch.ones(ITEMS, dtype=torch.bool)
    known[3] = False
    soft = semantic_neighbours(semantics, 3, 0.1, known)
    queries, keys = random(16, 4, DIMENSION), random(17, ITEMS, DIMENSION)

    hard = torch.tensor([3, 3, 3, 3])
    expected = functional.cross_entropy(queries @ keys.T, hard)
    torch.testing.assert_close(s2ce(queries, keys, hard, soft, 0.7), expected, rtol=1e-12, atol=1e-12)

    mixed = torch.tensor([3, 0, 5, 3])
    expected = dense_s2ce(queries, keys, mixed, naive_q(semantics, 3, 0.1, known.numpy()), 0.7)
    torch.testing.assert_close(s2ce(queries, keys, mixed, soft, 0.7), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_known_items_leave_every_target_hard(count):
    known = torch.arange(ITEMS) < count
    soft = semantic_neighbours(random(18, ITEMS, WIDTH), 3, 0.1, known)
    assert not dense(soft, ITEMS).any()
    assert soft.perplexity == 0
    queries, keys, targets = random(19, 5, DIMENSION), random(20, ITEMS, DIMENSION), torch.arange(5)
    expected = functional.cross_entropy(queries @ keys.T, targets)
    torch.testing.assert_close(s2ce(queries, keys, targets, soft, 0.5), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [ITEMS - 1, ITEMS, 10 * ITEMS])
def test_more_neighbours_than_items_is_every_other_item(k):
    semantics = random(21, ITEMS, WIDTH)
    q = dense(semantic_neighbours(semantics, k, 0.5), ITEMS)
    np.testing.assert_allclose(q, naive_q(semantics, ITEMS - 1, 0.5), atol=1e-6)
    assert np.count_nonzero(q) == ITEMS * (ITEMS - 1)


def test_a_catalogue_of_one_item():
    """There is no other item: the target stays hard, and log softmax of a single score is zero."""
    soft = semantic_neighbours(random(22, 1, WIDTH), 20, 0.1)
    assert dense(soft, 1).sum() == 0
    assert soft.perplexity == 0
    loss = s2ce(random(23, 3, DIMENSION), random(24, 1, DIMENSION), torch.zeros(3, dtype=torch.long), soft, 0.5)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_small_tau_s_gives_all_mass_to_the_nearest():
    semantics = random(25, ITEMS, WIDTH)
    q = dense(semantic_neighbours(semantics, 4, 1e-6), ITEMS)
    unit = functional.normalize(semantics).numpy()
    cosine = unit @ unit.T - 9 * np.eye(ITEMS)
    np.testing.assert_array_equal(q.argmax(axis=1), cosine.argmax(axis=1))
    np.testing.assert_allclose(q.max(axis=1), 1, atol=1e-6)


def test_large_tau_s_is_uniform_over_the_neighbours():
    q = dense(semantic_neighbours(random(26, ITEMS, WIDTH), 4, 1e6), ITEMS)
    np.testing.assert_allclose(q[q > 0], 0.25, atol=1e-5)
    assert np.all(np.count_nonzero(q, axis=1) == 4)


def test_perplexity_is_exp_of_the_mean_entropy_of_the_softened_items():
    """By loops over the naive q; unknown items are not averaged over."""
    semantics, known = random(27, ITEMS, WIDTH), np.arange(ITEMS) % 4 != 0
    q = naive_q(semantics, 5, 0.3, known)
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in q if row.sum() > 0]
    soft = semantic_neighbours(semantics, 5, 0.3, torch.as_tensor(known))
    assert len(entropies) == known.sum()
    assert soft.perplexity == pytest.approx(math.exp(sum(entropies) / len(entropies)), rel=1e-5)


def test_perplexity_limits():
    """Nearly uniform over k: k. All on one neighbour: 1."""
    semantics = random(28, ITEMS, WIDTH)
    assert semantic_neighbours(semantics, 4, 1e6).perplexity == pytest.approx(4, rel=1e-5)
    assert semantic_neighbours(semantics, 4, 1e-6).perplexity == pytest.approx(1, rel=1e-5)
    assert semantic_neighbours(semantics, 1, 0.1).perplexity == pytest.approx(1, rel=1e-6)


HELD = [
    1,
    ITEMS,
    2 * ITEMS,
    3 * ITEMS - 1,
    4 * ITEMS,
    6 * ITEMS,
    None,
]  # of 6 rows: one by one, in pairs, unevenly, all


@pytest.mark.parametrize("scores_held", HELD)
def test_mean_log_partition_equals_logsumexp(scores_held):
    """Value and gradient against torch.logsumexp, with scores far beyond what exp can hold (|z| up to thousands)."""
    for scale in (1.0, 1000.0):
        inputs = [(random(29, 6, 3) * scale).requires_grad_(), random(30, ITEMS, 3).requires_grad_()]
        expected = torch.logsumexp(inputs[0] @ inputs[1].T, dim=1).mean()
        actual = mean_log_partition(*inputs, scores_held)
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
        upstream = torch.tensor(-2.5, dtype=torch.float64)
        for one, other in zip(
            torch.autograd.grad(actual, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize(
    ("count", "scores_held"),
    [(70, 33 * ITEMS), (70, 2 * ITEMS), (600, 300 * ITEMS), (600, 31 * ITEMS), (600, 700), (40, 1)],
    ids=["rows in three blocks", "few keys at a time", "rows", "rows and keys", "rows and three keys", "one key"],
)
def test_many_queries_in_either_way(count, scores_held):
    """All keys against some rows, or some keys against 256 rows twice: the same value and gradients."""
    inputs = [random(37, count, 3).mul(20).requires_grad_(), random(38, ITEMS, 3).requires_grad_()]
    weights = random(39, count)  # some are negative
    expected = torch.logsumexp(inputs[0] @ inputs[1].T, dim=1) @ weights
    actual = mean_log_partition(*inputs, scores_held, weights)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-11)
    for one, other in zip(torch.autograd.grad(actual, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scores_held", [1, 10, 100])
def test_gradcheck_of_the_mean_log_partition(scores_held):
    inputs = (random(32, 3, 2).requires_grad_(), random(33, 5, 2).requires_grad_())
    assert torch.autograd.gradcheck(lambda h, w: mean_log_partition(h, w, scores_held), inputs)


@pytest.mark.parametrize("which", [0, 1])
def test_mean_log_partition_when_only_one_side_learns(which):
    """Frozen keys (or queries) must neither break nor change the other side's gradient."""
    inputs = [random(34, 3, 2), random(35, 5, 2)]
    inputs[which].requires_grad_()
    (actual,) = torch.autograd.grad(mean_log_partition(*inputs, 10), inputs[which])
    (expected,) = torch.autograd.grad(torch.logsumexp(inputs[0] @ inputs[1].T, dim=1).mean(), inputs[which])
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
