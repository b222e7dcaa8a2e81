"""What a market answers to at all: its own data, a recipe that keeps its promises, and what its operator allows.

The coordinator's word is not enough for any of it. The market remembers by itself what a run began with, so that
neither a hash of its data nor a list of its runs leaves.
"""

import json
from functools import lru_cache
from typing import Any

from fedrec.clients.behind import refuse_small_differences
from fedrec.clients.node import MarketNode
from fedrec.components.algorithm import Step, algorithm_of
from fedrec.components.plugins import NOTEBOOK, OWN
from fedrec.components.registry import components
from fedrec.data.market_rows import WITH_FAMILIES
from fedrec.errors import RunError
from fedrec.exchange.declaration import (
    CODEBOOK,
    CODES,
    COLLABORATIVE,
    CTR,
    FINETUNE,
    HELLO,
    LOCAL_BASELINES,
    PRETRAIN,
    REFIT,
    REPORT,
    VALIDATE,
    VALIDATE_CODEBOOK,
)
from fedrec.files import read_json, write_json
from fedrec.memory_plan import FORMS, why_bound
from fedrec.recipe import Recipe, conflict, kinds_in
from fedrec.recipe.moved import as_it_was
from fedrec.runs.manifest import changes

STEPS = {  # of a recipe's plan that a question belongs to; questions of set-up and of the report belong to none
    PRETRAIN: Step.ROUNDS,
    VALIDATE: Step.ROUNDS,
    REFIT: Step.REFIT,
    FINETUNE: Step.FINETUNE,
    COLLABORATIVE: Step.CODES,
    CODEBOOK: Step.CODES,
    VALIDATE_CODEBOOK: Step.CODES,
    CODES: Step.CODES,
    CTR: Step.CLICKS,
    **dict.fromkeys(LOCAL_BASELINES.values(), Step.BASELINES),
}


def refuse_plugins(node: MarketNode, recipe: str) -> None:
    """Raise :class:`RunError` for a recipe (JSON) that names what this market's operator has not allowed.

    Before the recipe is read, for to read it loads what it names.
    """
    for noun, name in _named(recipe):
        known = components(noun).get(name)
        if known is None:
            raise RunError(f"{noun} {name!r} is not known to this market; its package is not in the bundle")
        if known.origin not in {OWN, NOTEBOOK, *node.plugins}:
            raise RunError(
                f"{noun} {name!r} is of package {known.origin!r}, which this market's operator has not allowed "
                "(plugins in the node's configuration)"
            )


@lru_cache(maxsize=4)
def _named(recipe: str) -> list[tuple[str, str]]:
    """The same for all markets of this process, in question after question."""
    values = json.loads(recipe)
    return kinds_in(values if isinstance(values, dict) else {})


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
        _same(node, recipe, began.get("recipe"), action)
        _planned(recipe, action)
        _crowded(node, recipe)


def _allowed(node: MarketNode, recipe: Recipe) -> None:
    """What the operator wrote into the node's configuration."""
    if node.identity is not None and not recipe.masks.enabled:
        raise RunError("this node has a key and takes part in masked sums alone; set masks.enabled=true")
    if recipe.text_model not in {None, node.text_model}:
        raise RunError(
            f"semantics.model {recipe.text_model!r} is not what this market loads; "
            "its operator allows it with text-model in the node's configuration"
        )
    if recipe.privacy.on and recipe.evaluation.protocol in WITH_FAMILIES and node.store.families_of_users:
        raise RunError(
            "the map of families was made of these users' interactions, so one user more may change everybody's; under "
            "privacy take a map that others made, or set evaluation.protocol=temporal"
        )
    if recipe.privacy.on and not node.store.items_declared:
        bounded = node.max_epsilon is not None  # then the coordinator's word is not enough
        if recipe.privacy.catalogue == "declared" or bounded:
            raise RunError(
                "the list of items is not known to be the operator's (it may be made of the users' rows, and an item "
                "that one user alone has then tells of that user); import again with --items"
                + ("" if bounded else ", or say by privacy.catalogue=occurring that the list may be known")
            )
    if node.max_epsilon is None:
        return
    epsilon = recipe.privacy.epsilon
    if not recipe.privacy.on or epsilon is None or recipe.privacy.reports == "outside":
        raise RunError(
            "this node answers private recipes alone: set privacy.epsilon, and privacy.reports to withheld or noised"
        )
    if epsilon > node.max_epsilon:
        raise RunError(f"privacy.epsilon {epsilon:g} is above {node.max_epsilon:g}, all that this node ever spends")


def _planned(recipe: Recipe, action: str) -> None:
    """Refuse a question that is no step of the recipe, or of the part of it that trains a model for scores."""
    step = STEPS.get(action)
    if step is None:
        return
    recipes = (recipe, recipe.scoring) if recipe.scores.on else (recipe,)
    if not any(step in algorithm_of(one).plan() for one in recipes):
        raise RunError(f"{action} is no step of algorithm.kind {recipe.algorithm.kind!r} in this recipe")


def _crowded(node: MarketNode, recipe: Recipe) -> None:
    """Refuse a recipe that leaves too few users: to train, to choose by, or to be tested.

    What leaves may then be one user's history. A small ``data.user_share``, a cut date or a holdout can do that; so can
    the difference of two recipes, in whatever runs.
    """
    if node.min_users <= 1:
        return
    if min(node.prepare(recipe).crowds) < node.min_users:
        raise RunError(
            f"this recipe leaves fewer than {node.min_users} users to train, validate or test on, and this node's "
            "operator lets nothing leave that fewer are behind (min-users)"
        )
    if node.max_epsilon is None:  # else every recipe here is private, and all of them together are bounded
        refuse_small_differences(node, recipe)


@lru_cache(maxsize=4)
def _as_today(recipe: str) -> dict[str, Any]:
    """A recipe as an earlier version may have written it: sections that came since have their defaults."""
    return Recipe.model_validate(as_it_was(json.loads(recipe))).model_dump(mode="json")


def _same(node: MarketNode, recipe: Recipe, began: dict[str, Any] | None, action: str) -> None:
    """The recipe of the run's first question, checked whole there; any other is another run."""
    now = recipe.model_dump(mode="json")
    if began is None:
        if not recipe.is_resolved:
            raise RunError("the recipe says auto where all markets must do the same; the coordinator resolves it first")
        found = conflict(recipe)
        if found is not None:
            raise RunError(f"the recipe is in conflict with itself: {found}")
        write_json(node.recipe, now)
        write_json(node.began_with, {"fingerprint": node.store.fingerprint, "recipe": now})
        return
    if now == began:
        return
    before = _as_today(json.dumps(began))
    if now == before:
        return
    sealed = node.finished and action != REPORT
    bound = node.min_users > 1 or sealed or why_bound(recipe) is not None
    differ = [key for key, _, _ in changes(before, now) if bound or key not in FORMS]
    if differ:
        section = differ[0].partition(".")[0]
        raise RunError(f"the recipe is not the one this run began with: {section} differs; start a new run")
    write_json(node.recipe, now)
    write_json(node.began_with, {"fingerprint": node.store.fingerprint, "recipe": now})
