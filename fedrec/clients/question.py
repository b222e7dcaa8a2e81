"""What stands for a question: by it a market knows one that was asked before, and draws what it drew then."""

import hashlib
import json
from pathlib import Path

from fedrec.clients.instruction import Instruction
from fedrec.clients.node import MarketNode
from fedrec.exchange.payload import SCORES
from fedrec.privacy.noise import digest


def made_of(node: MarketNode, name: str, instruction: Instruction) -> str:
    """What stands for all that decides how ``name`` trains: the question, the market's data, and what was received."""
    files = _hash(node.codes(name)) + _hash(node.statistics) + _scored_by(node, name)
    return _hashed(asked(node, instruction) + node.store.fingerprint + files)


def asked(node: MarketNode, instruction: Instruction) -> str:
    """What stands for a question: the recipe, what came now and what came before.

    Without what decides nothing of it: masks, engines, and which methods there are besides. And without anything that
    is made of users, codes among it: by this everybody's chance is drawn, which one user more must not move.
    """
    recipe = instruction.recipe.model_dump(mode="json", exclude={"masks", "engine", "ray", "name"})
    del recipe["evaluation"]["methods"]
    if not instruction.recipe.scores.on:
        del recipe["scores"]  # a run that began with a version before it goes on with the same chance
    received = _hash(node.semantics) + _hash(node.vocabulary)
    return _hashed(json.dumps(recipe, sort_keys=True) + digest(instruction.arrays) + received)


def received(node: MarketNode, name: str) -> str:
    """What stands for all that a model is built on: vectors and list of items, codes, statistics, a model's scores."""
    files = (node.semantics, node.vocabulary, node.codes(name), node.statistics)
    return "".join(map(_hash, files)) + _scored_by(node, name)


def scored_by(node: MarketNode, method: str) -> Path:
    """The finished model whose scores are a feature of ``method``, where the recipe has one."""
    return node.within(SCORES).model("federated" if method == "federated" else "local")


def _scored_by(node: MarketNode, method: str) -> str:
    """Its hash; nothing for the models that give scores themselves."""
    return "" if node.part else _hash(scored_by(node, method))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
