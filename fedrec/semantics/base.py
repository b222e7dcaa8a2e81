"""What every kind of item semantics offers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from fedrec.components.section import ComponentSettings
from fedrec.seeds import numpy_generator

_ZERO = 1e-9


@dataclass(frozen=True)
class ItemEvidence:
    """What one market knows of its I items. Stays in the market."""

    keys: list[str]  # [I] public catalogue keys
    texts: list[str]  # [I] title, brand and category in one line; empty where unknown
    histories: sparse.csr_matrix  # [U, I] train interactions

    def without_users(self) -> "ItemEvidence":
        """The same of a market that nobody has been in."""
        return replace(self, histories=sparse.csr_matrix((0, self.histories.shape[1])))


@dataclass(frozen=True)
class ItemVectors:
    """Semantic vectors of I items, each of unit length."""

    vectors: NDArray[np.float32]  # [I, e]
    known: NDArray[np.bool_]  # [I]; False where the vector is only the key's own direction


class SemanticsSettings(ComponentSettings):
    """Base of a semantics' settings."""

    dimension: int = Field(default=128, ge=2, le=4096)


class CountedSettings(SemanticsSettings):
    """Of semantics that are made of summed pair counts."""

    min_count: int = Field(default=2, ge=2, description="pairs of fewer users never leave; 1 would send single users")


class HouseSettings(CountedSettings):
    """Of the kinds that come with fedrec, one of which ``auto`` becomes."""

    kind: str = "auto"
    model: str | None = Field(
        default=None, max_length=500, description="text encoder: a folder or a hub's name; null: the default"
    )


class Semantics(ABC):
    """Gives items vectors of ``dimension`` numbers; made as ``SemanticsClass.of(settings, seed)``.

    ``exchanges`` says whether markets send each other a statistic over shared item keys for it; where they do not,
    ``alone`` already means the same in every market. Under privacy it is then handed no histories.
    """

    Settings: ClassVar[type[SemanticsSettings]]
    exchanges: ClassVar[bool] = False
    takes_model: ClassVar[bool] = False
    """Whether ``settings.model`` names a pretrained encoder, which every market's operator has to allow."""
    settings: Any

    def __init__(self, dimension: int, seed: int) -> None:
        self.dimension = dimension
        self.seed = seed

    @classmethod
    def of(cls, settings: Any, seed: int) -> Self:
        """As a recipe wants it."""
        made = cls(settings.dimension, seed)
        made.settings = settings
        return made

    @abstractmethod
    def alone(self, evidence: ItemEvidence) -> NDArray[np.float32]:
        """Raw vectors [I, dimension] from what one market knows by itself; a zero row has no evidence."""

    def require(self) -> None:
        """Raise :class:`UserError` where something this kind needs is not on this machine; most need nothing."""
        return None

    def finish(self, raw: NDArray[np.floating], keys: list[str]) -> ItemVectors:
        """Scale rows to unit length; a zero row gets a random direction drawn from its key.

        The key's direction is the same in every market, so even such an item is one item to all of them; but nothing
        can be read from whom it lies near.
        """
        vectors = np.array(raw, dtype=np.float64)
        if not np.isfinite(vectors).all():
            raise ValueError("semantic vectors must be finite")
        known = np.linalg.norm(vectors, axis=1) > _ZERO
        for row in np.flatnonzero(~known):
            vectors[row] = numpy_generator(self.seed, "item", keys[row]).standard_normal(self.dimension)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return ItemVectors(vectors.astype(np.float32), known)
