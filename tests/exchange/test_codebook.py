"""Counts and sums of codes: what leaves, what is refused, and that their sum is the step that one place would make."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_quantize_pytorch import VectorQuantize

from fedrec.exchange.codebook import CodebookState, CodeStatistics, next_codebook, read_statistics, statistics_arrays
from fedrec.recipe import CodesSettings

K, D = 5, 3


def nearest(vectors: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    return ((vectors[:, None] - codebook[None]) ** 2).sum(axis=-1).argmin(axis=1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_the_sum_over_markets_is_pooled_k_means(seed, sizes):
    """One Lloyd step over the union, code by code in a loop; a code without items keeps its vector."""
    generator = np.random.default_rng(seed)
    codebook = generator.standard_normal((K, D))
    markets = [generator.standard_normal((size, D)) for size in sizes]
    parts = [CodeStatistics.of(nearest(vectors, codebook), vectors, K) for vectors in markets]
    found = CodebookState(codebook, np.zeros(K), np.zeros((K, D))).updated(parts, decay=0.0)
    union = np.concatenate(markets)
    codes = nearest(union, codebook) if len(union) else np.zeros(0, int)
    for code in range(K):
        own = union[codes == code]
        expected = own.mean(axis=0) if len(own) else codebook[code]
        np.testing.assert_allclose(found.codebook[code], expected, rtol=0, atol=1e-6)  # kept in single precision
        if len(own):
            np.testing.assert_allclose(found.sum[code] / found.count[code], expected, rtol=0, atol=1e-12)
    backwards = CodebookState(codebook, np.zeros(K), np.zeros((K, D))).updated(parts[::-1], decay=0.0)
    np.testing.assert_allclose(backwards.sum, found.sum, rtol=0, atol=1e-12)


def test_moving_averages_are_those_of_vector_quantize_pytorch():
    """Its training step on the union equals ours on two markets: counts and sums, decayed alike."""
    torch.manual_seed(0)
    theirs = VectorQuantize(dim=D, codebook_size=K, decay=0.8, threshold_ema_dead_code=0)
    codebook = torch.randn(K, D)
    theirs._codebook.embed.data.copy_(codebook[None])
    theirs._codebook.embed_avg.data.copy_(codebook[None])
    theirs._codebook.cluster_size.data.fill_(1)
    theirs.train()
    state = CodebookState(codebook.numpy(), np.ones(K), codebook.numpy().astype(float))
    for step in range(3):
        vectors = torch.randn(40, D, generator=torch.Generator().manual_seed(step))
        current = theirs._codebook.embed[0].numpy().copy()
        parts = [CodeStatistics.of(nearest(half, current), half, K) for half in np.split(vectors.numpy(), [13])]
        state = state.updated(parts, decay=0.8)
        theirs(vectors[None])
        np.testing.assert_allclose(state.count, theirs._codebook.cluster_size[0].numpy(), rtol=1e-5)
        np.testing.assert_allclose(state.sum, theirs._codebook.embed_avg[0].numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state.codebook, theirs._codebook.embed[0].numpy(), rtol=1e-3, atol=1e-4)


def test_small_counts_are_not_told():
    statistics = CodeStatistics(np.array([0, 2, 3]), np.arange(6.0).reshape(3, 2)).suppressed(3)
    assert statistics.count.tolist() == [0, 0, 3]
    assert statistics.sum.tolist() == [[0, 0], [0, 0], [4, 5]]


def sent(**changes: np.ndarray) -> dict[str, np.ndarray]:
    vectors = np.random.default_rng(0).standard_normal((20, D))
    codebook = np.zeros((K, D), np.float32)
    arrays = statistics_arrays([CodeStatistics.of(np.arange(20) % K, vectors, K)])
    assert len(read_statistics(arrays, [codebook], 10.0)) == 1
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


BAD_SUM = np.full((K, D), np.nan, np.float32)
NEGATIVE = np.array([1, 1, 1, 1, -1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"count.0": None}, "missing or unknown"),
        ({"sum.1": np.zeros((K, D), np.float32)}, "missing or unknown"),
        ({"count.0": np.ones(K)}, "not int64"),
        ({"count.0": np.ones(K + 1, np.int64)}, "shape"),
        ({"count.0": np.zeros(0, np.int64)}, "shape"),
        ({"count.0": NEGATIVE}, "cannot be"),
        ({"count.0": np.full(K, 2**40)}, "cannot be"),
        ({"sum.0": np.zeros((K, D))}, "not float32"),
        ({"sum.0": np.zeros((K, D + 1), np.float32)}, "shape"),
        ({"sum.0": BAD_SUM}, "not finite"),
        ({"sum.0": np.full((K, D), np.inf, np.float32)}, "not finite"),
        ({"sum.0": np.full((K, D), 1e6, np.float32)}, "longer"),
        ({"count.0": np.zeros(K, np.int64)}, "without items"),
    ],
)
def test_statistics_that_cannot_be(changes, words):
    with pytest.raises(ValueError, match=words):
        read_statistics(sent(**changes), [np.zeros((K, D), np.float32)], 10.0)


def test_codes_of_more_items_than_a_market_has_cannot_be():
    """Each level counts every item once; 20 were encoded."""
    arrays, codebooks = sent(), [np.zeros((K, D), np.float32)]
    assert len(read_statistics(arrays, codebooks, 10.0, items=20)) == 1
    with pytest.raises(ValueError, match="codes of 20 items, more than the 19 of its hello"):
        read_statistics(arrays, codebooks, 10.0, items=19)


def test_dead_codes_move_beside_the_busiest_and_take_half_of_their_items():
    """Counts 0, 9, 0, 4, 1: the first dead code goes to the busiest, the second to the next; code 4 is left alone."""
    codebook = np.eye(5, dtype=np.float32) * 10
    count = np.array([0, 9, 0, 4, 1])
    state = CodebookState(codebook, count.astype(float), codebook * count[:, None]).reseeded(
        count, np.random.default_rng(0)
    )
    for dead, busy in ((0, 1), (2, 3)):
        distance = np.linalg.norm(state.codebook[dead] - codebook[busy])
        assert 0 < distance < 1
        assert state.count[dead] == state.count[busy] == count[busy] / 2
    np.testing.assert_array_equal(state.codebook[[1, 3, 4]], codebook[[1, 3, 4]])
    assert state.count[4] == 1


@pytest.mark.parametrize("dead", ["keep", "reseed"])
def test_the_recipe_says_what_becomes_of_dead_codes(dead):
    codebook = np.zeros((2, 1), np.float32)
    part = CodeStatistics(np.array([4, 0]), np.array([[8.0], [0.0]]))
    state = next_codebook(CodebookState.start(codebook), [part], CodesSettings(dead=dead), np.random.default_rng(0))
    assert state.codebook[0] == 2
    assert (state.codebook[1] == 0) == (dead == "keep")
