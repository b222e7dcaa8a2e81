"""The server's noise on whole markets: who takes part, how far one market can move the sum, how large the noise is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.release import Release
from fedrec.strategies.market_noise import MarketNoise

CURRENT = {"a": np.zeros((300, 20), np.float32), "b": np.ones(50, np.float32)}


def noise(multiplier: float, sampling: float = 0.5, markets: int = 200) -> MarketNoise:
    return MarketNoise(2.0, Release("aggregate", multiplier, sampling), markets, SecretNoise(bytes(32), "run"))


def test_every_market_takes_part_on_a_coin_of_its_own() -> None:
    names = [f"m{number}" for number in range(400)]
    drawn = [set(noise(1, 0.3).sample(names, number)) for number in range(50)]
    assert np.mean([len(found) for found in drawn]) == pytest.approx(120, abs=4)
    assert len({len(found) for found in drawn}) > 5  # not a sample of fixed size
    together = np.mean([("m1" in found) and ("m2" in found) for found in drawn])
    assert together < 0.3
    assert noise(1, 0.3).sample(names, 7) == noise(1, 0.3).sample(list(reversed(names)), 7)


@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_one_market_moves_the_sum_by_the_clipping_norm_at_most(size: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    small = {"a": np.zeros((3, 2)), "b": np.ones(4)}
    others = [{name: value + generator.normal(size=value.shape) for name, value in small.items()} for _ in range(3)]
    one = {name: value + size * generator.normal(size=value.shape) for name, value in small.items()}
    without, with_it = (noise(1e-12, 0.5, 8).average(updates, small, 1) for updates in (others, [*others, one]))
    moved = np.sqrt(sum(((with_it[name] - without[name]) ** 2).sum() for name in small)) * 0.5 * 8
    assert moved <= 2.0 + 1e-6


def test_the_noise_is_as_large_as_stated_whoever_takes_part() -> None:
    for updates in ([], [CURRENT] * 5):
        found = noise(3.0).average(updates, CURRENT, 1)
        expected = 3.0 * 2.0 / (0.5 * 200)  # sigma C over the expected, not the actual, number of markets
        assert float(np.std(found["a"])) == pytest.approx(expected, rel=0.03)
        assert float(np.std(found["b"] - 1)) == pytest.approx(expected, rel=0.3)


def test_the_same_sum_has_the_same_noise_and_another_sum_another() -> None:
    moved = {name: value + 1 for name, value in CURRENT.items()}
    first, again, other = (noise(1).average(updates, CURRENT, 1)["a"] for updates in ([], [], [moved]))
    assert np.array_equal(first, again)
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] < 0.1
    assert not np.array_equal(first, noise(1).average([], CURRENT, 2)["a"])
