"""What stands out of noise, against counts made by hand and against chance."""

import numpy as np
import pytest

from fedrec.exchange.noised_statistics import read_variance, statistics_of
from fedrec.exchange.statistics import TOGETHER, read_statistics

SIZE = 6


def triangle(cells: dict[tuple[int, int], float]) -> np.ndarray:
    whole = np.zeros((SIZE, SIZE), np.float32)
    for (first, second), value in cells.items():
        whole[first, second] = value
    return whole[np.triu_indices(SIZE)]


def told(pairs: np.ndarray, variance: list[float], users_each: float = 1.0) -> dict[tuple[int, int], int]:
    found = statistics_of(pairs, np.array(variance), users_each)
    read_statistics(found.arrays(), SIZE, 1)  # as a market reads what it was sent
    counts = found.pairs[TOGETHER]
    assert sum(len(one.count) for one in found.pairs.values()) == len(counts.count)
    assert not len(found.monthly.item)
    return {(int(i), int(j)): int(n) for i, j, n in zip(counts.first, counts.second, counts.count, strict=True)}


def test_what_is_within_four_deviations_is_nothing():
    pairs = triangle({(0, 0): 4.1, (1, 1): 3.9, (2, 2): -9.0, (3, 3): 8.2, (0, 3): 4.2, (3, 4): 9.0, (4, 4): 7.0})
    assert told(pairs, [1, 1, 1, 4, 1, 0]) == {(0, 0): 4, (3, 3): 8, (0, 3): 4, (3, 4): 7, (4, 4): 7}
    assert told(pairs, [4, 4, 4, 4, 4, 4]) == {(3, 3): 8}  # (3, 4) stands out, and its item 4 does not


def test_weights_become_users():
    pairs = triangle({(0, 0): 3.0, (1, 1): 5.0, (0, 1): 2.0})
    assert told(pairs, [0.01] * SIZE, 2.4) == {(0, 0): 7, (1, 1): 12, (0, 1): 5}


def test_noise_alone_is_hardly_ever_taken_for_a_count():
    generator = np.random.default_rng(0)
    size = 400
    noise = generator.normal(0, 3, size * (size + 1) // 2).astype(np.float32)
    found = statistics_of(noise, np.full(size, 9.0), 5.0)
    assert found.known_pairs <= 15  # of 80,200 numbers


def test_variances_that_cannot_be_are_refused():
    good = np.ones(SIZE, np.float32)
    assert read_variance({"variance": good}, SIZE).tolist() == [1] * SIZE
    for bad in (good[:-1], good.astype(np.float64), -good, good * np.nan):
        with pytest.raises(ValueError, match="variances"):
            read_variance({"variance": bad}, SIZE)
    with pytest.raises(ValueError, match="missing"):
        read_variance({}, SIZE)
