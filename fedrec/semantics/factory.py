"""From the recipe's words to a :class:`Semantics`."""

from fedrec.recipe import Recipe
from fedrec.semantics.base import Semantics
from fedrec.semantics.cooccurrence import CooccurrenceSemantics
from fedrec.semantics.hashing import HashingSemantics
from fedrec.semantics.text import SentenceSemantics, StaticSemantics


def make_semantics(recipe: Recipe, kind: str) -> Semantics:
    """The semantics of a resolved kind."""
    settings = recipe.semantics
    if kind == "hashing":
        return HashingSemantics(settings.dimension, recipe.seed)
    if kind == "model2vec":
        return StaticSemantics(settings.dimension, recipe.seed, settings.model)
    if kind == "sentence-transformers":
        return SentenceSemantics(settings.dimension, recipe.seed, settings.model)
    return CooccurrenceSemantics(settings.dimension, recipe.seed, settings.min_count)
