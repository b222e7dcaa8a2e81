"""ACMR as a recipe describes it, for one market of a federation."""

from fedrec.models.pointwise.acmr import Acmr
from fedrec.models.pointwise.interface import Sizes
from fedrec.recipe import Recipe
from fedrec.seeds import seeded_torch


def build_acmr(recipe: Recipe, items: int) -> Acmr:
    """A model over ``items`` of all markets; its parameters depend on the seed and the sizes alone."""
    settings = recipe.model
    sizes = Sizes(
        users=0,
        items=items,
        markets=1,
        dimension=settings.dimension,
        dropout=settings.dropout,
        maximum_length=settings.maximum_length,
    )
    with seeded_torch(recipe.seed, "model"):
        return Acmr(sizes, recipe.acmr.layers, recipe.acmr.heads, recipe.acmr.reading, recipe.acmr.market_embedding)
