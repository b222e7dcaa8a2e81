"""From the recipe's words to a :class:`Semantics`."""

import numpy as np
from numpy.typing import NDArray

from fedrec.components.registry import find
from fedrec.semantics.base import HouseSettings, ItemEvidence, ItemVectors, Semantics, SemanticsSettings


class Auto(Semantics):
    """``auto``: what the markets have decides which kind it becomes, see :meth:`fedrec.recipe.Recipe.resolved`."""

    Settings = HouseSettings

    def alone(self, evidence: ItemEvidence) -> NDArray[np.float32]:
        """There is nothing before it is resolved."""
        raise ValueError("semantics.kind auto is not resolved")


def make_semantics(settings: SemanticsSettings, seed: int) -> Semantics:
    """The semantics that a recipe's section names."""
    found: type[Semantics] = find("semantics", settings.kind)
    return found.of(settings, seed)


def vectors_alone(semantics: Semantics, evidence: ItemEvidence, private: bool) -> ItemVectors:
    """What one market's items are by what it knows itself. ``private``: of a run with privacy.

    Where such vectors stand for those of all markets, they enter what is trained together: under privacy they are made
    without its users, whatever the component would do with them.
    """
    known = evidence.without_users() if private and not semantics.exchanges else evidence
    return semantics.finish(semantics.alone(known), evidence.keys)
