"""From the recipe's words to a :class:`Semantics`."""

import numpy as np
from numpy.typing import NDArray

from fedrec.components.registry import find
from fedrec.recipe import Recipe
from fedrec.semantics.base import HouseSettings, ItemEvidence, ItemVectors, Semantics


class Auto(Semantics):
    """``auto``: what the markets have decides which kind it becomes, see :meth:`fedrec.recipe.Recipe.resolved`."""

    Settings = HouseSettings

    def alone(self, evidence: ItemEvidence) -> NDArray[np.float32]:
        """There is nothing before it is resolved."""
        raise ValueError("semantics.kind auto is not resolved")


def make_semantics(recipe: Recipe) -> Semantics:
    """The semantics of a recipe."""
    found: type[Semantics] = find("semantics", recipe.semantics.kind)
    return found.of(recipe.semantics, recipe.seed)


def vectors_alone(recipe: Recipe, evidence: ItemEvidence) -> ItemVectors:
    """What one market's items are by what it knows itself.

    Where such vectors stand for those of all markets, they enter what is trained together: under privacy they are made
    without its users, whatever the component would do with them.
    """
    semantics = make_semantics(recipe)
    known = evidence.without_users() if recipe.privacy.on and not semantics.exchanges else evidence
    return semantics.finish(semantics.alone(known), evidence.keys)
