"""What a market's evaluation was made of and left, under seal."""

from pathlib import Path

from fedrec.clients.node import MarketNode
from fedrec.exchange.payload import SCORES
from fedrec.recipe import Recipe
from fedrec.runs import seal as sealed


def seal(node: MarketNode, recipe: Recipe) -> None:
    """Close what the market's methods are made of, and what was measured of them."""
    sealed.write_seal(node.folder, _files(node, recipe))
    if recipe.scores.on:
        seal(node.within(SCORES), recipe.scoring)


def check_seal(node: MarketNode, recipe: Recipe) -> None:
    """Raise :class:`fedrec.errors.UserError` naming the first file that is not what it was then."""
    sealed.check_seal(node.folder, _files(node, recipe))
    if recipe.scores.on:
        check_seal(node.within(SCORES), recipe.scoring)


def _files(node: MarketNode, recipe: Recipe) -> list[Path]:
    made_of = [
        node.secret, node.recipe, node.mixing, node.semantics, node.gram, node.statistics, node.vocabulary,
        node.collaborative,
    ]  # fmt: skip
    methods = [
        path
        for method in recipe.evaluation.methods
        for path in (node.model(method), node.note(method), node.codes(method), node.model(f"ctr-{method}"))
    ]
    return [*made_of, *methods, node.report, node.per_user]
