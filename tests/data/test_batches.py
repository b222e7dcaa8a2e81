"""Training batches: every history once, shifted and padded right."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.batches import training_batches
from fedrec.data.sequences import Sequences


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 5), st.integers(2, 6))
def test_one_pass_holds_every_usable_history_once(lengths: list[int], batch_size: int, maximum: int) -> None:
    """Histories of one item have nothing to predict; longer ones than maximum + 1 keep their latest items."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.arange(offsets[-1])  # every interaction its own item, so that rows can be recognised
    sequences = Sequences(offsets, items, items, int(offsets[-1]))
    found = []
    for batch in training_batches(sequences, batch_size, maximum, np.random.default_rng(0)):
        assert len(batch.items) <= batch_size
        assert batch.items.shape[1] == batch.lengths.max()
        found += [row[:length].tolist() for row, length in zip(batch.items, batch.lengths, strict=True)]
    rows = [list(range(start, end)) for start, end in itertools.pairwise(offsets)]
    assert sorted(found) == sorted(row[-(maximum + 1) :] for row in rows if len(row) >= 2)


def test_same_seed_same_batches_other_seed_other_order() -> None:
    offsets = np.arange(0, 101, 2)
    sequences = Sequences(offsets, np.arange(100), np.arange(100), 100)

    def order(seed: int) -> list[int]:
        batches = training_batches(sequences, 4, 5, np.random.default_rng(seed))
        return [int(item) for batch in batches for item in batch.items[:, 0]]

    assert order(1) == order(1)
    assert order(1) != order(2)
