"""The seal of a finished market: which files its evaluation used, so that nothing else is ever used in their place."""

import hashlib

from clients.node import MarketNode
from fedrec.errors import UserError
from fedrec.files import read_json, write_json
from fedrec.recipe import Recipe


def seal(node: MarketNode, recipe: Recipe) -> None:
    """Write down the SHA-256 of every file that the market's methods are made of."""
    write_json(node.seal, _hashes(node, recipe))


def check_seal(node: MarketNode, recipe: Recipe) -> None:
    """Raise :class:`UserError` naming the first file that is missing, was changed, or came later.

    It finds damage and mistakes. Who can write the folder can write a new seal.
    """
    if not node.seal.is_file():
        raise UserError(f"{node.seal}: missing; restore it, or run again")
    sealed, found = read_json(node.seal), _hashes(node, recipe)
    for name in sorted({*sealed, *found}):
        if name not in found:
            raise UserError(f"{node.folder / name}: missing; restore it, or run again")
        if sealed.get(name) != found[name]:
            raise UserError(f"{node.folder / name}: not what the run left; restore it, or run again")


def _hashes(node: MarketNode, recipe: Recipe) -> dict[str, str]:
    once = [node.recipe, node.report, node.mixing, node.semantics, node.gram, node.vocabulary, node.collaborative]
    each = [
        path
        for method in recipe.evaluation.methods
        for path in (node.model(method), node.note(method), node.codes(method), node.model(f"ctr-{method}"))
    ]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (*once, *each) if path.is_file()}
