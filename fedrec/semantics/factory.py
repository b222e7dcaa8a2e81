"""From the recipe's words to a :class:`Semantics`."""

from fedrec.recipe import Recipe
from fedrec.semantics.base import Semantics
from fedrec.semantics.cooccurrence import CooccurrenceSemantics
from fedrec.semantics.hashing import HashingSemantics


def resolve_kind(kind: str, every_market_has_text: bool) -> str:
    """``auto`` is ``hashing`` where items have text, else ``cooccurrence``."""
    if kind != "auto":
        return kind
    return "hashing" if every_market_has_text else "cooccurrence"


def make_semantics(recipe: Recipe, kind: str) -> Semantics:
    """The semantics of a resolved kind."""
    settings = recipe.semantics
    if kind == "hashing":
        return HashingSemantics(settings.dimension, recipe.seed)
    return CooccurrenceSemantics(settings.dimension, recipe.seed, settings.min_count)
