"""What stands for a question: by it a market knows one that was asked before, and draws what it drew then."""

import hashlib
import json

from clients.instruction import Instruction
from clients.node import MarketNode
from fedrec.privacy.noise import digest
from fedrec.recipe import Recipe


def made_of(node: MarketNode, name: str, instruction: Instruction) -> str:
    """What stands for everything that decides how ``name`` trains: the question, and the market's data."""
    return _hashed(asked(node, name, instruction) + node.store.fingerprint)


def asked(node: MarketNode, name: str, instruction: Instruction) -> str:
    """What stands for a question about ``name``: the recipe, what came now and what came before.

    Without what decides nothing of it: masks, engines, and which methods there are besides.
    """
    return _hashed(_essence(instruction.recipe) + digest(instruction.arrays) + received(node, name))


def stands_for(recipe: Recipe) -> str:
    """What stands for a recipe, as in :func:`asked`."""
    return _hashed(_essence(recipe))


def received(node: MarketNode, name: str) -> str:
    """What stands for the item vectors, the list of items and the codes that a model of this market is built on."""
    files = (node.semantics, node.vocabulary, node.codes(name))
    return "".join(hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest() for path in files)


def _essence(recipe: Recipe) -> str:
    values = recipe.model_dump(mode="json", exclude={"masks", "engine", "ray", "name"})
    del values["evaluation"]["methods"]
    return json.dumps(values, sort_keys=True)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
