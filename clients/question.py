"""What stands for a question: by it a market knows one that was asked before, and draws what it drew then."""

import hashlib
import json

from clients.instruction import Instruction
from clients.node import MarketNode
from fedrec.privacy.noise import digest


def made_of(node: MarketNode, name: str, instruction: Instruction) -> str:
    """What stands for everything that decides how ``name`` trains: the question, and the market's data."""
    return _hashed(asked(node, name, instruction) + node.store.fingerprint)


def asked(node: MarketNode, name: str, instruction: Instruction) -> str:
    """What stands for a question about ``name``: the recipe, what came now and what came before.

    Without what decides nothing of it: masks, engines, and which methods there are besides.
    """
    recipe = instruction.recipe.model_dump(mode="json", exclude={"masks", "engine", "ray", "name"})
    del recipe["evaluation"]["methods"]
    return _hashed(json.dumps(recipe, sort_keys=True) + digest(instruction.arrays) + received(node, name))


def received(node: MarketNode, name: str) -> str:
    """What stands for the item vectors, the list of items and the codes that a model of this market is built on."""
    files = (node.semantics, node.vocabulary, node.codes(name))
    return "".join(hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest() for path in files)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
