"""Vectors in other axes are brought back, whatever the axes were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from fedrec.errors import RunError
from fedrec.semantics.alignment import align_vectors

KEYS = [f"item-{number}" for number in range(30)]


@given(seed=st.integers(0, 10_000), dimension=st.integers(2, 8))
def test_turned_vectors_come_back_and_new_ones_come_along(seed: int, dimension: int) -> None:
    generator = np.random.default_rng(seed)
    old = generator.standard_normal((30, dimension)).astype(np.float32)
    rotation = ortho_group.rvs(dimension, random_state=generator)
    new, keys = (old @ rotation).astype(np.float32), list(KEYS)
    order = generator.permutation(30)  # catalogues are sorted anew when items come
    known = KEYS[:20]
    aligned, common = align_vectors([keys[row] for row in order], new[order], known, old[:20])
    assert common == 20
    np.testing.assert_allclose(aligned, old[order], atol=1e-4)  # the last ten are known to the new run alone


@given(seed=st.integers(0, 10_000))
def test_nothing_but_the_axes_changes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    old, new = generator.standard_normal((2, 30, 6)).astype(np.float32)
    new[3] = 0
    aligned, common = align_vectors(KEYS, new, KEYS, old)
    assert common == 29
    np.testing.assert_allclose(aligned @ aligned.T, new @ new.T, atol=1e-4)
    assert not aligned[3].any()


def test_too_few_common_items_are_refused() -> None:
    vectors = np.ones((30, 6), np.float32)
    with pytest.raises(RunError, match="5 of 30 items"):
        align_vectors(KEYS, vectors, KEYS[:5], vectors[:5])
    nothing = np.zeros((30, 6), np.float32)  # known by name, without any evidence then
    with pytest.raises(RunError, match="0 of 30 items"):
        align_vectors(KEYS, vectors, KEYS, nothing)
