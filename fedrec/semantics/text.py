"""Semantics from public text by a pretrained encoder: the extra ``fedrec[text]``.

The encoder is public and frozen, so equal texts get equal vectors in every market and nothing has to be exchanged. It
runs inside the market; only its weights come from outside, once, before any run. Vectors are cached on the market's own
disk by the hash of what they are made of: model, library, texts.
"""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from fedrec.errors import UserError
from fedrec.files import write_atomic
from fedrec.seeds import numpy_generator
from fedrec.semantics.base import HouseSettings, ItemEvidence, Semantics

CACHE_VARIABLE = "FEDREC_CACHE"


class TextSemantics(Semantics):
    """Vectors of a pretrained encoder, projected to ``dimension`` where the encoder's own differs.

    The projection is a seeded random orthonormal basis, the same in every market.
    """

    Settings = HouseSettings
    takes_model = True
    package: str
    default_model: str

    def __init__(self, dimension: int, seed: int, model: str | None) -> None:
        super().__init__(dimension, seed)
        self.model = model or self.default_model

    @classmethod
    def of(cls, settings: HouseSettings, seed: int) -> Self:
        """Of its dimension and model."""
        return cls(settings.dimension, seed, settings.model)

    def alone(self, evidence: ItemEvidence) -> NDArray[np.float32]:
        """Raw vectors [I, dimension] of the items' texts; an item without text has no evidence."""
        described = np.array([bool(text) for text in evidence.texts])
        return np.where(described[:, None], self.project(self.encode(evidence.texts)), np.float32(0))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The encoder's own vectors [I, D], from the cache where they are known."""
        path = cache_folder() / f"{self._digest(texts)}.safetensors"
        if path.is_file():
            known: NDArray[np.float32] = load_arrays(path.read_bytes())["vectors"]
            return known
        vectors = np.ascontiguousarray(self.compute(list(texts)), np.float32)
        write_atomic(path, save_arrays({"vectors": vectors}))
        return vectors

    def project(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """[I, D] to [I, dimension]."""
        width = vectors.shape[1]
        if width == self.dimension:
            return vectors
        size = max(width, self.dimension)
        basis, _ = np.linalg.qr(numpy_generator(self.seed, "text").standard_normal((size, size)))
        return np.asarray(vectors @ basis[:width, : self.dimension], np.float32)

    def require(self) -> None:
        """Raise :class:`UserError` unless library and model are there."""
        self._version()
        self.compute([])

    @abstractmethod
    def compute(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors [I, D] without the cache; with no texts, only load the model."""

    def _failed(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:100]
        return UserError(
            f"semantics.model {self.model!r}: {self.package} cannot load it ({type(error).__name__}: {reason}); "
            "give the folder of a downloaded model"
        )

    def _version(self) -> str:
        try:
            return version(self.package)
        except PackageNotFoundError:
            raise UserError(
                f"semantics.kind {self.package}: not installed; install fedrec with its extra: "
                "`pip install '.[text]'` in its folder"
            ) from None

    def _digest(self, texts: Sequence[str]) -> str:
        digest = hashlib.sha256(f"{self.package} {self._version()} {self.model}\n".encode())
        folder = Path(self.model)
        for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()) if folder.is_dir() else []:
            with path.open("rb") as stream:
                digest.update(str(path.relative_to(folder)).encode() + hashlib.file_digest(stream, "sha256").digest())
        for text in texts:
            digest.update(text.encode() + b"\x00")
        return digest.hexdigest()


class StaticSemantics(TextSemantics):
    """``model2vec``: one vector a token, averaged; fast on any CPU."""

    package = "model2vec"
    default_model = "minishlab/potion-multilingual-128M"

    def compute(self, texts: list[str]) -> NDArray[np.float32]:
        """Mean token vectors."""
        from model2vec import StaticModel

        try:
            model = StaticModel.from_pretrained(self.model)
        except Exception as error:
            raise self._failed(error) from None
        return np.asarray(model.encode(texts, use_multiprocessing=False)) if texts else np.zeros((0, 1), np.float32)


class SentenceSemantics(TextSemantics):
    """``sentence-transformers``: a transformer over the whole text; better, slower."""

    package = "sentence-transformers"
    default_model = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"

    def compute(self, texts: list[str]) -> NDArray[np.float32]:
        """Sentence vectors, on the CPU."""
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(self.model, device="cpu")
        except Exception as error:
            raise self._failed(error) from None
        return np.asarray(model.encode(texts, show_progress_bar=False)) if texts else np.zeros((0, 1), np.float32)


def cache_folder() -> Path:
    """``$FEDREC_CACHE``, else the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedrec"
    return base / "text"
