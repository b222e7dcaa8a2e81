"""The market's own randomness: its law, that it repeats where it must, and that nobody without the secret has it."""

import numpy as np
import pytest
from scipy import stats

from fedrec.privacy.noise import SecretNoise, digest

SECRET = bytes(range(32))


def test_the_same_purpose_draws_the_same_and_any_other_differs():
    noise = SecretNoise(SECRET, "run")
    first = noise.gaussian((50,), "update", 3)
    assert np.array_equal(first, SecretNoise(SECRET, "run").gaussian((50,), "update", 3))
    others = [
        noise.gaussian((50,), "update", 4),
        noise.gaussian((50,), "pairs", 3),
        SecretNoise(SECRET, "other").gaussian((50,), "update", 3),
        SecretNoise(bytes(32), "run").gaussian((50,), "update", 3),
    ]
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.5
        assert not (first == other).any()


def test_a_longer_draw_begins_like_a_shorter_one():
    """So that nobody takes two draws of one purpose for independent: a purpose is used once."""
    noise = SecretNoise(SECRET, "run")
    assert np.array_equal(noise.gaussian((7,), "p"), noise.gaussian((9,), "p")[:7])


def test_normal_and_uniform():
    """Kolmogorov and Smirnov's test of 200,000; neighbours are not correlated; the tails are there."""
    noise = SecretNoise(SECRET, "run")
    normal, uniform = noise.gaussian((200_000,), "normal"), noise.uniform(200_000, "uniform")
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(normal[1:], normal[:-1])[0, 1]) < 0.01
    assert 4 < np.abs(normal).max() < 6.5
    assert 0 < uniform.min() < uniform.max() < 1


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        SecretNoise(b"abc", "run")


def test_a_digest_tells_arrays_apart():
    """By name, type, shape and value; not by the order in which they come."""
    array = np.arange(6, dtype=np.int32)
    same = digest({"a": array, "b": array + 1})
    assert same == digest({"b": array + 1, "a": array})
    others = [
        {"a": array + 1, "b": array},
        {"a": array, "c": array + 1},
        {"a": array.astype(np.int64), "b": array + 1},
        {"a": array.reshape(2, 3), "b": array + 1},
        {"a": array},
    ]
    assert len({same, *map(digest, others)}) == 6
