"""Item vectors that mean the same in every market."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fedrec.components import registry
from fedrec.exchange.pairs import PairCounts, count_pairs, sum_pairs
from fedrec.recipe import load_recipe
from fedrec.semantics.base import HouseSettings, ItemEvidence, Semantics, SemanticsSettings
from fedrec.semantics.cooccurrence import CooccurrenceSemantics
from fedrec.semantics.factory import make_semantics, vectors_alone
from fedrec.semantics.hashing import HashingSemantics


def evidence(texts, keys=None, histories=None):
    keys = [f"key-{index}" for index in range(len(texts))] if keys is None else keys
    histories = sparse.csr_matrix((1, len(texts)), dtype=np.float32) if histories is None else histories
    return ItemEvidence(keys=keys, texts=texts, histories=histories)


def counted(dimension, min_count):
    """With a least count of one too, which no recipe may have."""
    return CooccurrenceSemantics.of(HouseSettings.model_construct(dimension=dimension, min_count=min_count), 0)


def vectors_of(semantics, texts, keys=None):
    given_evidence = evidence(texts, keys)
    return semantics.finish(semantics.alone(given_evidence), given_evidence.keys)


# hashing

CAMERA = "Compact digital camera with 20x zoom"
SIMILAR = "Digital camera, compact, 30x zoom lens"
COMPOUND = "Digitalcamera compact 20x zooms"
OTHER = "Stainless steel kitchen knife set"


def test_equal_texts_are_equal_vectors_in_different_catalogues():
    one = vectors_of(HashingSemantics(32, 0), [CAMERA, OTHER, "red shoe"], ["a", "b", "c"])
    other = vectors_of(HashingSemantics(32, 0), ["blue hat", CAMERA], ["x", "y"])
    np.testing.assert_array_equal(one.vectors[0], other.vectors[1])


def test_similar_texts_are_nearer_than_dissimilar_ones():
    """A projection to d numbers keeps cosines up to about 1 / sqrt(d): d 512 leaves an error of 0.05."""
    vectors = vectors_of(HashingSemantics(512, 0), [CAMERA, SIMILAR, COMPOUND, OTHER]).vectors.astype(np.float64)
    cosine = vectors @ vectors.T
    assert cosine[0, 1] > cosine[0, 3] + 0.2
    assert cosine[0, 2] > cosine[0, 3] + 0.2, "character n-grams see through compounds and plurals"
    assert abs(cosine[0, 3]) < 0.25


def test_vectors_have_unit_length_and_the_right_shape():
    result = vectors_of(HashingSemantics(48, 1), [CAMERA, OTHER, "", "x"])
    assert result.vectors.shape == (4, 48)
    assert result.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(result.vectors.astype(np.float64), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("dimension", [32, 128])
def test_a_text_with_a_word_in_it_is_known(dimension):
    """A zero row means no evidence, and one-word titles have a word and a dozen character n-grams of it."""

    titles = [
        "camera",
        "lantern",
        "mug",
        "shoe",
        "hat",
        "heart",
        "alarm",
        "clock",
        "lens",
        "bag",
        "cup",
        "white",
        "red",
    ]
    result = vectors_of(HashingSemantics(dimension, 0), titles)
    assert [title for title, known in zip(titles, result.known, strict=True) if not known] == []


@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_text_is_unknown_and_gets_its_keys_own_direction(empty):
    """The same direction in two markets with different catalogues, and no nearness to be read from it."""
    one = vectors_of(HashingSemantics(256, 0), [CAMERA, empty, empty], ["a", "lost", "gone"])
    other = vectors_of(HashingSemantics(256, 0), [empty, OTHER], ["lost", "b"])
    assert one.known.tolist() == [True, False, False]
    assert other.known.tolist() == [False, True]
    assert one.known.mean() == pytest.approx(1 / 3)
    np.testing.assert_array_equal(one.vectors[1], other.vectors[0])
    assert abs(float(one.vectors[1] @ one.vectors[2])) < 0.3
    assert abs(float(one.vectors[1] @ one.vectors[0])) < 0.3


def test_only_the_seed_decides_the_projection():
    texts = [CAMERA, OTHER]
    one = vectors_of(HashingSemantics(32, 0), texts)
    np.testing.assert_array_equal(one.vectors, vectors_of(HashingSemantics(32, 0), texts).vectors)
    assert not np.allclose(one.vectors, vectors_of(HashingSemantics(32, 1), texts).vectors)


def test_a_catalogue_wholly_without_text():
    result = vectors_of(HashingSemantics(16, 0), ["", ""])
    assert not result.known.any()
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)


def test_finish_scales_rows_and_keeps_their_direction():
    raw = np.array([[3.0, 4.0], [0.0, 0.0], [-1e-3, 0.0]])
    result = HashingSemantics(2, 0).finish(raw, ["a", "b", "c"])
    np.testing.assert_allclose(result.vectors[[0, 2]], [[0.6, 0.8], [-1, 0]], atol=1e-6)
    assert result.known.tolist() == [True, False, True]


# co-occurrence


def random_histories(seed, users=12, items=6, density=0.5):
    return sparse.csr_matrix((np.random.default_rng(seed).random((users, items)) < density).astype(np.float32))


def naive_pairs(histories, min_count=1):
    """{(i, j): users who have both}, i < j, by loops; pairs under ``min_count`` dropped."""
    counts = {}
    for row in histories.toarray():
        for pair in combinations(np.flatnonzero(row).tolist(), 2):
            counts[pair] = counts.get(pair, 0) + 1
    return {pair: count for pair, count in counts.items() if count >= min_count}


def as_dict(pairs):
    entries = list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.count.tolist(), strict=True))
    assert all(first < second for first, second, _ in entries), "upper triangle"
    result = {(first, second): count for first, second, count in entries}
    assert len(result) == len(entries), "each pair once"
    return result


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([0.05, 0.3, 0.8]))
def test_pairs_equal_naive_loops(seed, min_count, density):
    histories = random_histories(seed, density=density)
    pairs = count_pairs(histories, min_count)
    assert pairs.size == 6
    assert as_dict(pairs) == naive_pairs(histories, min_count)


def test_users_are_counted_not_repeats():
    """A user who has an item twice is still one user of the pair; else one user's pair passes any minimum count."""

    histories = sparse.csr_matrix(np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0]], dtype=np.float32))
    assert as_dict(count_pairs(histories, 1)) == {(0, 1): 2}


def test_more_users_than_small_integers_hold():
    """300 users of one pair, given as small integers: no wrap at 127 or 255."""

    histories = sparse.csr_matrix(np.ones((300, 2), dtype=np.int8))
    assert as_dict(count_pairs(histories, 2)) == {(0, 1): 300}


def test_pairs_under_the_minimum_never_leave():
    histories = random_histories(1, density=0.3)
    statistic = count_pairs(histories, 3)
    assert as_dict(statistic) == naive_pairs(histories, 3)
    assert statistic.count.min(initial=3) >= 3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(9)), st.permutations(range(9)))
def test_the_sum_over_markets_is_the_count_on_the_union(seed, one_place, other_place):
    """Rename each market's columns to the union's, stack the users, count once: the same numbers.

    Places are arbitrary, so a pair's order may turn round under renaming.
    """
    markets = [random_histories(seed, items=6), random_histories(seed + 1, users=8, items=5)]
    places = [np.array(one_place[:6], dtype=np.int64), np.array(other_place[:5], dtype=np.int64)]
    union = np.zeros((20, 9))
    union[:12, places[0]] = markets[0].toarray()
    union[12:, places[1]] = markets[1].toarray()

    parts = [count_pairs(m, 1).placed(p, 9) for m, p in zip(markets, places, strict=True)]
    expected = naive_pairs(sparse.csr_matrix(union))
    assert as_dict(sum_pairs(parts, 9)) == expected
    assert as_dict(sum_pairs(parts[::-1], 9)) == expected
    assert sum_pairs(parts, 9).size == 9


def test_the_minimum_is_applied_inside_each_market_before_the_sum():
    """A pair seen once here and once there is a count of one in both: neither market sends it."""
    here = sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1]], dtype=np.float32))
    there = sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1]], dtype=np.float32))
    summed = sum_pairs([count_pairs(here, 2), count_pairs(there, 2)], 3)
    assert as_dict(summed) == {(1, 2): 4}


def test_a_sum_of_nothing_is_empty():
    empty = count_pairs(sparse.csr_matrix((3, 4), dtype=np.float32), 1)
    assert as_dict(empty) == {}
    assert as_dict(sum_pairs([empty, empty], 4)) == {}
    assert as_dict(sum_pairs([], 4)) == {}


def naive_ppmi(pairs, size):
    """max(0, log(c_ij c / (c_i c_j))) with c_ij symmetric, c_i its row sums and c their sum; zero where c_ij is."""
    counts = np.zeros((size, size))
    for (i, j), count in pairs.items():
        counts[i, j] = counts[j, i] = count
    ppmi = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            if counts[i, j]:
                ratio = counts[i, j] * counts.sum() / (counts[i].sum() * counts[j].sum())
                ppmi[i, j] = max(0.0, math.log(ratio))
    return ppmi


def best_factorisation(matrix, dimension):
    """The nearest positive semidefinite matrix of at most this rank (Eckart & Young): largest positive eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    kept = np.argsort(values)[::-1][:dimension]
    kept = kept[values[kept] > 0]
    return (vectors[:, kept] * values[kept]) @ vectors[:, kept].T


@pytest.mark.parametrize("dimension", [2, 4, 7, 8, 20])
def test_inner_products_are_the_positive_part_of_the_ppmi_matrix(dimension):
    """v_i . v_j = sum over the ``dimension`` largest eigenvalues lambda > 0 of lambda u_i u_j.

    The matrix has a zero diagonal, so some eigenvalues are negative: its positive part is what vectors can express.
    Dimensions beyond the number of items are allowed.
    """
    histories = random_histories(7, users=30, items=8, density=0.3)
    ppmi = naive_ppmi(naive_pairs(histories), 8)
    values = np.linalg.eigvalsh(ppmi)
    assert np.diff(values).min() > 1e-3, "a case without equal eigenvalues, so the best rank-d part is unique"

    vectors = counted(dimension, 1).vectors(count_pairs(histories, 1)).astype(np.float64)
    assert vectors.shape == (8, dimension)
    np.testing.assert_allclose(vectors @ vectors.T, best_factorisation(ppmi, dimension), atol=1e-5)


def test_vectors_are_deterministic():
    counts = count_pairs(random_histories(2, users=40, items=20, density=0.2), 1)
    one, other = counted(6, 1), counted(6, 1)
    np.testing.assert_array_equal(one.vectors(counts), one.vectors(counts))
    np.testing.assert_array_equal(one.vectors(counts), other.vectors(counts))


def test_vectors_do_not_depend_on_the_order_of_the_markets():
    parts = [count_pairs(random_histories(seed, items=10), 1) for seed in (3, 4, 5)]
    semantics = counted(5, 1)
    np.testing.assert_array_equal(
        semantics.vectors(sum_pairs(parts, 10)), semantics.vectors(sum_pairs(parts[::-1], 10))
    )


def test_alone_is_the_markets_own_statistic_factorised():
    histories = random_histories(6, users=30, items=8)
    semantics = counted(4, 2)
    own = evidence([""] * 8, histories=histories)
    np.testing.assert_array_equal(semantics.alone(own), semantics.vectors(count_pairs(own.histories, 2)))


def test_an_item_in_no_pair_is_unknown():
    """Its row of the PPMI matrix is zero, so is its vector, whatever the eigensolver's rounding."""
    histories = random_histories(8, users=40, items=12, density=0.3).tolil()
    histories[:, [3, 9]] = 0
    own = evidence([""] * 12, histories=histories.tocsr())
    semantics = counted(5, 1)
    result = semantics.finish(semantics.alone(own), own.keys)
    assert np.flatnonzero(~result.known).tolist() == [3, 9]
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_no_pairs_at_all_is_no_evidence(size):
    nothing = np.array([], dtype=np.int32)
    raw = counted(4, 2).vectors(PairCounts(nothing, nothing, nothing, size))
    np.testing.assert_array_equal(raw, np.zeros((size, 4)))


@pytest.mark.parametrize("size", [2, 3])
def test_tiny_catalogues(size):
    """Two items bought together, the rest alone. PPMI of the pair: log(c * 2c / (c * c)) = log 2; matrix
    [[0, log 2], [log 2, 0]] has the one positive eigenvalue log 2 with (1, 1) / sqrt 2: v0 . v1 = log 2 / 2."""
    # FAILS for a catalogue of two (reported): no vectors at all. From three items on at most size - 2 eigenvalues are
    # positive (a single negative one equals the largest in size, by trace zero and Perron), so nothing is lost there.
    pairs = PairCounts(np.array([0], np.int32), np.array([1], np.int32), np.array([5], np.int32), size)
    raw = counted(4, 1).vectors(pairs).astype(np.float64)
    expected = np.zeros((size, size))
    expected[:2, :2] = math.log(2) / 2
    np.testing.assert_allclose(raw @ raw.T, expected, atol=1e-6)


def test_an_unknown_item_has_the_same_direction_under_every_kind_of_catalogue():
    semantics = counted(16, 1)
    one = semantics.finish(np.zeros((2, 16)), ["a", "b"])
    other = semantics.finish(np.zeros((3, 16)), ["c", "b", "a"])
    np.testing.assert_array_equal(one.vectors, other.vectors[[2, 1]])


def test_what_is_exchanged():
    assert counted(4, 2).exchanges is True
    assert HashingSemantics(4, 0).exchanges is False


def test_an_item_in_no_pair_is_unknown_even_where_the_rank_is_not_reached():
    """Pairs (0,1) and (1,2) leave items 3 to 59 without evidence. PPMI here has one positive eigenvalue; asking for 16
    factors must not turn the round-off of the null space into meaning."""
    pairs = np.array([[0, 1], [1, 2]])
    counts = PairCounts(*(column.astype(np.int32) for column in pairs.T), np.array([3, 2], np.int32), 60)
    semantics = counted(16, 2)
    finished = semantics.finish(semantics.vectors(counts), [f"k{i}" for i in range(60)])
    assert np.flatnonzero(finished.known).tolist() == [0, 1, 2]


def test_vectors_are_the_same_bytes_where_the_solver_must_restart():
    """A sparse graph with fewer positive eigenvalues than factors asked for: the Krylov space closes early and ARPACK
    draws a new vector, by itself from fresh entropy. It must come from the seed."""
    generator = np.random.default_rng(1)
    pairs = np.unique(np.sort(generator.integers(0, 236, (200, 2)), axis=1), axis=0).astype(np.int32)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    counts = PairCounts(pairs[:, 0], pairs[:, 1], generator.integers(2, 6, len(pairs)).astype(np.int32), 849)
    semantics = counted(128, 2)
    assert len({semantics.vectors(counts).tobytes() for _ in range(4)}) == 1


class Bought(Semantics):
    """How often each item was bought: of users, whatever it says of itself."""

    class Settings(SemanticsSettings):
        kind: str = "bought"

    def alone(self, evidence):
        counts = np.asarray(evidence.histories.sum(axis=0)).ravel()
        return np.tile(counts[:, None], (1, self.dimension)).astype(np.float32)


def test_under_privacy_no_component_sees_histories(monkeypatch):
    """Vectors that enter the shared model must not move with a user: a user more or fewer changes nothing."""
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("semantics", "bought", Bought)
    histories = sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 0]]))
    some, fewer = (evidence(["a", "b", "c"], histories=part) for part in (histories, histories[:1]))
    words = ["semantics.kind=bought", "semantics.dimension=4", "evaluation.methods=[federated]"]
    plain = load_recipe("fecosr", words)
    bought = make_semantics(plain.semantics, plain.seed)
    assert vectors_alone(bought, some, private=False).known.tolist() == [True, True, False]
    one, other = (vectors_alone(bought, part, private=True) for part in (some, fewer))
    assert not one.known.any()
    np.testing.assert_array_equal(one.vectors, other.vectors)
