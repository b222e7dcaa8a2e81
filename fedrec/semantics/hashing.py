"""Semantics from public text, offline: hashed word and character n-grams under a seeded random projection.

Both the hashing and the projection depend on nothing but the seed, so equal texts get equal vectors in every market
and nothing has to be exchanged (Weinberger et al. 2009 for hashing, Achlioptas 2003 for sparse projections).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.random_projection import SparseRandomProjection

from fedrec.seeds import derive_seed
from fedrec.semantics.base import HouseSettings, ItemEvidence, Semantics

_FEATURES = 2**16
_DENSITY = 1 / 3  # the default, 1 / sqrt(features), would leave short texts without a single entry


class HashingSemantics(Semantics):
    """Words and word pairs for meaning, character 3- to 5-grams for spelling variants and compounds."""

    Settings = HouseSettings

    def alone(self, evidence: ItemEvidence) -> NDArray[np.float32]:
        """Raw vectors [I, dimension] of the items' texts."""
        common = {"n_features": _FEATURES, "alternate_sign": True, "norm": "l2", "lowercase": True}
        words = HashingVectorizer(analyzer="word", ngram_range=(1, 2), **common)
        characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common)
        features = sparse.hstack([words.transform(evidence.texts), characters.transform(evidence.texts)])
        projection = _projection(features.shape[1], self.dimension, derive_seed(self.seed, "hashing") % 2**32)
        return np.asarray((sparse.csr_matrix(features) @ projection).toarray(), dtype=np.float32)


@lru_cache(maxsize=1)
def _projection(features: int, dimension: int, seed: int) -> "sparse.csr_matrix":
    """The same for all markets: fitting draws the matrix from the number of features alone, and no text enters it."""
    projection = SparseRandomProjection(n_components=dimension, density=_DENSITY, random_state=seed)
    fitted = projection.fit(sparse.csr_matrix((1, features)))
    return sparse.csr_matrix(fitted.components_.T)  # [features, dimension], which scikit-learn makes anew every time
