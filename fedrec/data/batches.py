"""Training batches: whole histories, right padded, every position predicting the next item at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.sequences import Sequences

PADDING = 0  # padded positions are masked by length, so any valid item index will do
_POOL = 16  # batches whose histories are sorted by length together, so that little padding is computed


@dataclass(frozen=True)
class Batch:
    """B histories padded to the longest, L."""

    items: NDArray[np.int64]  # [B, L]
    lengths: NDArray[np.int64]  # [B]


def pad(sequences: Sequences, users: NDArray[np.int64], maximum_length: int) -> Batch:
    """The most recent ``maximum_length`` interactions of ``users``, right padded."""
    ends = sequences.offsets[users + 1]
    lengths = np.minimum(sequences.lengths[users], maximum_length)
    width = max(int(lengths.max(initial=1)), 1)
    position = np.arange(width)
    valid = position < lengths[:, None]  # [B, L]
    source = np.where(valid, (ends - lengths)[:, None] + position, 0)
    return Batch(np.where(valid, sequences.items[source], PADDING), lengths)


def training_batches(
    sequences: Sequences, batch_size: int, maximum_length: int, generator: np.random.Generator
) -> Iterator[Batch]:
    """One pass over every history that has a next item to predict, in seeded random order.

    Histories carry one interaction more than ``maximum_length``, because inputs and targets are shifted by one.
    """
    users = generator.permutation(np.flatnonzero(sequences.lengths >= 2))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(users), batch_size * _POOL):
        pool = users[start : start + batch_size * _POOL]
        pool = pool[np.argsort(sequences.lengths[pool], kind="stable")]
        batches.extend(pool[first : first + batch_size] for first in range(0, len(pool), batch_size))
    for index in generator.permutation(len(batches)):
        yield pad(sequences, batches[index], maximum_length + 1)
