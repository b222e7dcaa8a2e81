"""Item vectors of new counts in the axes of old ones.

Factors of counts are defined up to a rotation: those of next month's counts mean the same geometry in other axes, and a
model that was trained on the old axes would read nonsense. Over the items that both have, the rotation that brings the
new vectors closest to the old ones is the solution of the orthogonal Procrustes problem (Schönemann, Psychometrika
1966); items that are new are turned along.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from fedrec.errors import RunError


def align_vectors(
    keys: list[str], vectors: NDArray[np.float32], old_keys: list[str], old_vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], int]:
    """``vectors`` [I, e] of ``keys`` turned to ``old_vectors`` [J, e] of ``old_keys``; how many items decided.

    Lengths and angles among the vectors stay as they are. Zero rows are items without evidence and decide nothing.
    Raises :class:`RunError` where fewer than e items are known to both, which leave axes undecided.
    """
    place = {key: row for row, key in enumerate(old_keys)}
    old = np.array([place.get(key, -1) for key in keys], np.int64)  # [I], row among the old or -1
    common = np.flatnonzero((old >= 0) & vectors.any(axis=1))
    common = common[old_vectors[old[common]].any(axis=1)]
    dimension = vectors.shape[1]
    if len(common) < dimension:
        raise RunError(
            f"{len(common)} of {len(keys)} items are known to the model that this run begins with; "
            f"to turn vectors of semantics.dimension {dimension} takes as many: begin with a new model"
        )
    before, after = vectors[common].astype(np.float64), old_vectors[old[common]].astype(np.float64)  # [C, e]
    rotation, _ = orthogonal_procrustes(before, after)  # [e, e]
    return (vectors.astype(np.float64) @ rotation).astype(np.float32), len(common)
