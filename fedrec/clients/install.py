"""What a market keeps of what the server made of all markets' answers, kind by kind; nothing leaves."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from safetensors.numpy import save as save_arrays

from fedrec.clients.instruction import Instruction
from fedrec.clients.masks import summed_statistics
from fedrec.clients.methods import own_statistics
from fedrec.clients.node import MarketNode
from fedrec.clients.privacy import others_of_noised
from fedrec.components.algorithm import Need
from fedrec.data.catalogue import own_vocabulary
from fedrec.errors import RunError
from fedrec.exchange.keys import read_keys
from fedrec.exchange.noised_pairs import PAIRS, read_ridged
from fedrec.exchange.noised_statistics import VARIANCE
from fedrec.exchange.pairs import read_summed
from fedrec.exchange.payload import Payload
from fedrec.exchange.statistics import Statistics, read_statistics
from fedrec.files import write_atomic, write_json
from fedrec.recipe import Recipe

Value = TypeVar("Value")
Keep = Callable[[MarketNode, Instruction], None]


def install(node: MarketNode, instruction: Instruction) -> Payload:
    """Keep a vocabulary, item vectors [I, e], summed counts or statistics, each told by a name that only it has."""
    recipe = instruction.recipe
    if "vocabulary" in instruction.texts:
        if not recipe.shares_vocabulary:
            raise RunError("this recipe shares no list of items; none is kept")
        _vocabulary(node, instruction)
    if instruction.opened:
        _masked_statistics(node, instruction)
    elif instruction.arrays:
        kind = next((kind for name, kind in _KINDS.items() if name in instruction.arrays), None)
        if kind is None:
            raise RunError("arrays of no known kind were sent to be kept; do both sides run the same version?")
        keep, wanted = kind
        if not wanted(recipe):
            raise RunError("arrays were sent to be kept that this recipe has no use for")
        keep(node, instruction)
    return Payload()


def _vocabulary(node: MarketNode, instruction: Instruction) -> None:
    recipe, texts = instruction.recipe, instruction.texts
    own = own_vocabulary(node.store, recipe.splitting, recipe.seed, node.draws(recipe))
    received = _sound(lambda: read_keys(texts, "vocabulary"))
    union = recipe.evaluation.catalogue == "union"  # else what was learned from was not told, and no answer may tell it
    learned = _sound(lambda: read_keys(texts, "learned")) if union and "learned" in texts else received
    if not (set(own.items) <= set(received) and set(own.learned) <= set(learned) <= set(received)):
        raise RunError("the vocabulary received lacks items of this market")
    write_json(node.vocabulary, {"items": sorted(received), "learned": sorted(learned)})


def _semantics(node: MarketNode, instruction: Instruction) -> None:
    items, vectors = _items(node, instruction), instruction.arrays["semantics"]
    if vectors.shape != (items, instruction.recipe.semantics.dimension) or not np.isfinite(vectors).all():
        raise RunError(f"semantic vectors of shape {vectors.shape} do not fit {items} items")
    write_atomic(node.semantics, save_arrays({"semantics": np.asarray(vectors, np.float32)}))


def _noised_statistics(node: MarketNode, instruction: Instruction) -> None:
    _keep_statistics(node, _sound(lambda: others_of_noised(node, instruction.recipe, instruction.arrays)))


def _noised_pairs(node: MarketNode, instruction: Instruction) -> None:
    items = node.prepare(instruction.recipe).train.item_count
    write_atomic(node.gram, save_arrays(_sound(lambda: read_ridged(instruction.arrays, items))))


def _statistics(node: MarketNode, instruction: Instruction) -> None:
    items = _items(node, instruction)
    told = _sound(lambda: read_statistics(instruction.arrays, items, 1))
    _keep_statistics(node, told)


def _masked_statistics(node: MarketNode, instruction: Instruction) -> None:
    """Of a masked sum nobody else can take out this market's own: what is left is the others', whatever they sent."""
    everyone, own = summed_statistics(node, instruction), own_statistics(node, instruction.recipe)
    _keep_statistics(node, _sound(lambda: everyone.without(own)))


def _counts(node: MarketNode, instruction: Instruction) -> None:
    items = node.prepare(instruction.recipe).train.item_count
    summed = _sound(lambda: read_summed(instruction.arrays, items))
    write_atomic(node.gram, save_arrays({k: np.ascontiguousarray(v) for k, v in summed.arrays().items()}))


# By a name of an array that this kind has and none before it; and in which recipes.
_KINDS: dict[str, tuple[Keep, Callable[[Recipe], bool]]] = {
    "semantics": (_semantics, lambda recipe: Need.ITEM_VECTORS in recipe.needs or Need.CODES in recipe.needs),
    VARIANCE: (_noised_statistics, lambda recipe: recipe.sums_statistics and recipe.privacy.on),
    PAIRS: (_noised_pairs, lambda recipe: recipe.sums_counts and recipe.privacy.on),
    "monthly.count": (_statistics, lambda recipe: recipe.sums_statistics and not recipe.privacy.on),
    "own": (_counts, lambda recipe: recipe.sums_counts and not recipe.privacy.on),
}


def _items(node: MarketNode, instruction: Instruction) -> int:
    return len(node.prepare(instruction.recipe).items)


def _keep_statistics(node: MarketNode, others: Statistics) -> None:
    write_atomic(node.statistics, save_arrays(others.arrays()))


def _sound(read: Callable[[], Value]) -> Value:
    """What was read of an instruction; what cannot be is refused in words that quote none of the market's data."""
    try:
        return read()
    except ValueError as error:
        raise RunError(str(error)) from None
