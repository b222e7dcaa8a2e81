"""What a market answers to at all: its own data, a recipe that keeps its promises, and what its operator allows.

The coordinator's word is not enough for any of it. The market remembers by itself what a run began with, so that
neither a hash of its data nor a list of its runs leaves.
"""

from typing import Any

from clients.node import MarketNode
from fedrec.errors import RunError
from fedrec.exchange.declaration import HELLO
from fedrec.files import read_json, write_json
from fedrec.recipe import Recipe, contradiction


def admit(node: MarketNode, recipe: Recipe, action: str) -> None:
    """Raise :class:`RunError` rather than answer.

    From the first question after hello on, a run has one recipe here, every ``auto`` resolved: what was promised with
    it, epsilon among others, holds for all that leaves.
    """
    began = read_json(node.began_with) if node.began_with.is_file() else {}
    if not began:
        write_json(node.recipe, recipe.model_dump(mode="json"))
        write_json(node.began_with, {"fingerprint": node.store.fingerprint, "recipe": None})
    elif began["fingerprint"] != node.store.fingerprint:
        raise RunError("the data of this market have changed since the run began; put them back, or start anew")
    _allowed(node, recipe)
    if action != HELLO:
        _same(node, recipe, began.get("recipe"))


def _allowed(node: MarketNode, recipe: Recipe) -> None:
    """What the operator wrote into the node's configuration."""
    if node.identity is not None and not recipe.masks.enabled:
        raise RunError("this node has a key and takes part in masked sums alone; set masks.enabled=true")
    if recipe.semantics.model not in {None, node.text_model}:
        raise RunError(
            f"semantics.model {recipe.semantics.model!r} is not what this market loads; "
            "its operator allows it with text-model in the node's configuration"
        )
    if node.most_epsilon is None:
        return
    epsilon = recipe.privacy.epsilon
    if not recipe.privacy.on or epsilon is None or recipe.privacy.reports != "withheld":
        raise RunError(
            "this node answers private recipes alone: set privacy.epsilon, and privacy.reports=withheld for its figures"
        )
    if epsilon > node.most_epsilon:
        raise RunError(f"privacy.epsilon {epsilon:g} is above {node.most_epsilon:g}, all that this node ever spends")


def _same(node: MarketNode, recipe: Recipe, began: dict[str, Any] | None) -> None:
    """The recipe of the run's first question, checked whole there; any other is another run."""
    now = recipe.model_dump(mode="json")
    if began is None:
        if not recipe.is_resolved:
            raise RunError("the recipe says auto where all markets must do the same; the coordinator resolves it first")
        odds = contradiction(recipe)
        if odds is not None:
            raise RunError(f"the recipe is at odds with itself: {odds}")
        write_json(node.recipe, now)
        write_json(node.began_with, {"fingerprint": node.store.fingerprint, "recipe": now})
    elif now != began:
        section = next(name for name in sorted({*now, *began}) if now.get(name) != began.get(name))
        raise RunError(f"the recipe is not the one this run began with: {section} differs; start a new run")
