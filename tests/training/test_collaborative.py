"""Collaborative vectors: two tastes come apart, strangers stay unknown, and only seed and market decide."""

import numpy as np
import pytest

from fedrec.data.sequences import Sequences
from fedrec.recipe import CollaborativeSettings
from fedrec.training.collaborative import CollaborativeVectors, factorise

USERS, ITEMS = 24, 16  # the last user and the last item meet nobody
SETTINGS = {
    source: CollaborativeSettings(source=source, dimension=8, epochs=40, batch_size=32)
    for source in ("bpr", "lightgcn")
}
SOURCES = pytest.mark.parametrize("source", list(SETTINGS))


def sequences(histories: list[list[int]], items: int = ITEMS) -> Sequences:
    lengths = [len(history) for history in histories]
    flat = np.array([item for history in histories for item in history], np.int64)
    return Sequences(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), flat, np.arange(len(flat)), items)


def side(number: int) -> int:
    """Of which taste a user or an item is: even or odd."""
    return number % 2


def tastes() -> list[list[int]]:
    """Every user met five of the seven or eight items of their own taste."""
    generator = np.random.default_rng(0)
    own = [[item for item in range(ITEMS - 1) if side(item) == taste] for taste in (0, 1)]
    return [generator.choice(own[side(user)], 5, replace=False).tolist() for user in range(USERS - 1)] + [[]]


def encoded(vectors: CollaborativeVectors) -> bytes:
    return b"".join(array.tobytes() for array in vectors.arrays().values())


@SOURCES
def test_two_tastes_come_apart(source):
    """Every user scores every item of the own taste above every other, those never met too."""
    vectors, loss = factorise(sequences(tastes()), SETTINGS[source], 0, "jp")
    scores = vectors.users @ vectors.items.T
    for user in range(USERS - 1):
        own = [scores[user, item] for item in range(ITEMS - 1) if side(item) == side(user)]
        other = [scores[user, item] for item in range(ITEMS - 1) if side(item) != side(user)]
        assert min(own) > max(other)
    assert 0 < loss < np.log(2)  # that of vectors which say nothing


@SOURCES
def test_whoever_met_nobody_is_zero_and_not_known(source):
    """User 3, too, whose neighbours in the table have rows; and item 5, which nobody meets."""
    histories = [[item for item in history if item != 5] for history in tastes()]
    histories[3] = []
    vectors, _ = factorise(sequences(histories), SETTINGS[source], 0, "jp")
    met = {item for history in histories for item in history}
    assert vectors.known_users.tolist() == [bool(history) for history in histories]
    assert vectors.known_items.tolist() == [item in met for item in range(ITEMS)]
    assert [bool(vector.any()) for vector in vectors.users] == vectors.known_users.tolist()
    assert [bool(vector.any()) for vector in vectors.items] == vectors.known_items.tolist()
    assert {array.dtype for array in (vectors.users, vectors.items)} == {np.dtype(np.float32)}


@SOURCES
def test_the_seed_and_the_market_decide_and_nothing_else(source):
    rows = sequences(tastes())
    settings = SETTINGS[source].model_copy(update={"epochs": 2})
    drawn = [(seed, name) for _ in range(2) for seed in (0, 1) for name in ("jp", "de")]
    found = [encoded(factorise(rows, settings, seed, name)[0]) for seed, name in drawn]
    assert found[:4] == found[4:]
    assert len(set(found)) == 4


def test_markets_start_apart():
    """Vectors that learned next to nothing are other ones in another market: no two begin from a common point, which
    would let them be compared."""
    settings = SETTINGS["bpr"].model_copy(update={"epochs": 1, "learning_rate": 1e-12})
    found = [factorise(sequences(tastes()), settings, 0, name)[0].items for name in ("jp", "de")]
    assert not np.allclose(*found, rtol=0, atol=1e-3)


def test_a_repeat_counts_once():
    """The same vectors to the last bit, whether a user met an item once or three times."""
    histories = tastes()
    settings = SETTINGS["bpr"].model_copy(update={"epochs": 2})
    once, _ = factorise(sequences(histories), settings, 0, "jp")
    thrice, _ = factorise(sequences([history + history[:1] * 2 for history in histories]), settings, 0, "jp")
    assert encoded(once) == encoded(thrice)


def test_the_graph_makes_a_difference():
    found = [factorise(sequences(tastes()), SETTINGS[source], 0, "jp")[0] for source in SETTINGS]
    assert encoded(found[0]) != encoded(found[1])


def test_the_penalty_shrinks():
    rows = sequences(tastes())
    sizes = []
    for penalty in (0.0, 0.1, 2.0):
        settings = SETTINGS["bpr"].model_copy(update={"penalty": penalty})
        vectors, _ = factorise(rows, settings, 0, "jp")
        sizes.append(np.linalg.norm(vectors.users) + np.linalg.norm(vectors.items))
    assert sizes[0] > sizes[1] > sizes[2]


def test_written_and_read_back():
    vectors, _ = factorise(sequences(tastes()), SETTINGS["bpr"].model_copy(update={"epochs": 1}), 0, "jp")
    again = CollaborativeVectors.read(vectors.arrays())
    for name, array in vectors.arrays().items():
        assert again.arrays()[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays()[name], array)
