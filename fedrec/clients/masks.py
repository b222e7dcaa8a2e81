"""A market's part in masked sums: it announces keys, shares secrets, masks what it sends, and opens shares once.

What it must remember from one message to the next lies in its own folder, readable by its owner alone, and is gone when
the sum is open. A market answers one message at a time (:func:`fedrec.clients.messages.answer`): two that read and
write the same state would undo what it is there for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fedrec.clients.instruction import Instruction
from fedrec.clients.memory import FileMemory
from fedrec.clients.methods import own_statistics, shared_trainer
from fedrec.clients.node import MarketNode
from fedrec.components.stage import Place, Stage
from fedrec.errors import RunError
from fedrec.exchange.declaration import CODEBOOK, COUNTS, PRETRAIN, REFIT, STATISTICS
from fedrec.exchange.keys import read_keys
from fedrec.exchange.lookup_table import TABLE, table_of
from fedrec.exchange.noised_pairs import PAIRS, symmetric, triangle_of
from fedrec.exchange.payload import Array, Origin, Payload, with_prefix
from fedrec.exchange.statistics import Statistics, read_statistics
from fedrec.exchange.weights import weights_by_market
from fedrec.files import append_json_line, exclusively, read_json, read_json_lines, write_atomic, write_json
from fedrec.masking.following import OpenedSum, check_follows, check_sum, follow, told_apart
from fedrec.masking.protocol import (
    ANNOUNCED,
    Announcement,
    MarketMasks,
    Terms,
    context_of,
    default_threshold,
    read_public_key,
)
from fedrec.masking.ring import format_of
from fedrec.privacy.noise import digest
from fedrec.recipe import Recipe, recipe_json

_LARGEST_UNION = 20_000  # items: two hundred million pairs
_KEPT = 4  # rounds; a resumed run goes back two at most
_BASE, _SERVER = "base.", "server."  # what a round began with, and the server's state then
MASKED = frozenset({PRETRAIN, REFIT, CODEBOOK, *COUNTS})  # actions whose arrays leave under masks


def announce(node: MarketNode, instruction: Instruction) -> Payload:
    """Begin: fresh keys and how much this market weighs in the sum, signed by the node's own key.

    Asked again for the same sum, it goes on with the keys it has: what was masked once is masked the same again.
    """
    terms = _terms(node, instruction)
    known, before = _known(node, terms.action).get(terms.round), _sets(node)
    masks = known if known is not None and known.seed else MarketMasks.begin(node.store.name, terms)
    own = masks.announce(_identity(node), _weight(node, instruction.recipe, terms.action), before)
    if masks.opened is None and {tuple(names) for names in own.sets} != before:  # others must know of all of them
        masks = MarketMasks.begin(node.store.name, terms)
        own = masks.announce(_identity(node), _weight(node, instruction.recipe, terms.action), before)
    write_json(_under_way(node), {"sum": terms.bytes().decode()})
    _save(node, masks)
    return Payload(texts={name: getattr(own, name) for name in ANNOUNCED})


def share(node: MarketNode, instruction: Instruction) -> Payload:
    """Encrypted shares for all who announced themselves, after checking who they are and that they are enough."""
    columns = [instruction.texts.get(name, []) for name in ("market", *ANNOUNCED)]
    if len({len(column) for column in columns}) != 1:
        raise RunError("masks: announcements of unequal length")
    announcements = [Announcement(*row) for row in zip(*columns, strict=True)]
    threshold = _number(instruction, "threshold")
    known = _known_keys(node)
    share_of_all = default_threshold(instruction.recipe.masks.threshold, len(announcements))
    least = max(node.min_markets, share_of_all, len(known) // 2 + 1)  # any two sums have a market in common
    if threshold < least:
        raise RunError(f"masks: a threshold of {threshold} markets is refused; this node asks for {least}")
    masks = _load(node, _terms(node, instruction))
    shares = masks.share(announcements, known, threshold)
    _save(node, masks)
    return Payload(texts={f"for.{name}": text for name, text in shares.items()})


def open_shares(node: MarketNode, instruction: Instruction) -> Payload:
    """The shares that the sum over those who came needs; never of sums that are equations for one market's own.

    What was summed over whom is remembered, on the operator's host over all runs (see :func:`_remember`).
    """
    terms, survivors = _terms(node, instruction), sorted(instruction.texts.get("survivors", []))
    recipe = instruction.recipe
    weighed = "" if terms.action in COUNTS else f"{recipe.federation.weights}, private {recipe.privacy.on}"
    masks = _load(node, terms)
    under_way = read_json(_under_way(node)) if _under_way(node).is_file() else {}
    if masks.opened is None and under_way.get("sum") != terms.bytes().decode():
        raise RunError("masks: another sum was begun since; this one is not opened, begin it again")
    (total,) = instruction.texts.get("total", [""])[:1] or [""]
    opened = masks.open(survivors, total)
    line = {
        **_place(node, recipe, terms.action),
        "round": terms.round,
        "what": masks.what,
        "over": survivors,
        "by": weighed,
    }
    told = [names for found in masks.announcements.values() for names in found.sets]
    _remember(_memory(node), line, told)
    _save(node, masks)
    return Payload(texts={f"of.{name}": text for name, text in opened.items()})


def forget_masks(node: MarketNode) -> None:
    """Remove what is left of masked sums when all of them are over, opened or not."""
    for path in (*node.folder.glob("masks-*.json"), *node.folder.glob("base-*.safetensors")):
        path.unlink()


def follow_sum(
    node: MarketNode, instruction: Instruction, action: str, untrained: Callable[[], Mapping[str, Array]]
) -> None:
    """Raise :class:`RunError` unless a masked round begins with what follows from the sum before.

    The first begins with the ``untrained`` parameters, which the recipe decides. So whoever asks chooses a recipe, and
    nothing else: round r cannot be asked again as round r + 1. A round that is asked again is what it was (masks hide
    one thing only).
    """
    known, number = _known(node, action), instruction.round
    if number in known and known[number].used:
        return
    before = {n: masks for n, masks in known.items() if n < number and masks.used}
    summed = _summed(node, instruction.recipe, action)
    if number < 1 or (number not in summed and number < max(summed, default=0)):
        raise RunError(f"masks: round {number} comes after later ones of this seed; nothing is answered")
    latest = max((n for n in summed if n < number), default=0)
    opened, arrays = OpenedSum.of_texts(instruction.texts, instruction.opened), instruction.arrays
    memory = FileMemory(node.folder, f"base-{action}")
    state: dict[str, Array] = {}
    if opened is None:
        if latest:
            raise RunError(f"masks: nothing came of the sum of round {latest}; this market goes on from it alone")
        first = untrained()
        check_follows(first, {name: arrays[name] for name in first if name in arrays}, "the recipe")
    elif opened.round not in before or opened.round < latest:
        raise RunError(f"masks: this market had no part in a last sum of round {opened.round}; it stays out of the run")
    else:
        kept = memory.load(opened.round + 1)
        base, server = with_prefix(kept, _BASE), with_prefix(kept, _SERVER)
        expected, state = follow(instruction.recipe, before[opened.round], opened, base, server)
        check_follows(expected, arrays, f"the sum of round {opened.round}")
    begins = {_BASE + name: array for name, array in arrays.items()}
    memory.save(number, begins | {_SERVER + name: array for name, array in state.items()})


def summed_statistics(node: MarketNode, instruction: Instruction) -> Statistics:
    """All markets' statistics together, over this market's items, of the very sum that it took part in.

    Whatever else the server called such a sum, subtracting one's own from it and saying how that went would answer
    questions about one's own. Raises :class:`RunError` for anything else, in words that depend on none of them.
    """
    masks, recipe = _known(node, STATISTICS).get(instruction.round), instruction.recipe
    opened = OpenedSum.of_texts(instruction.texts, instruction.opened)
    if masks is None or opened is None or masks.opened is None or list(opened.over) != sorted(masks.members or []):
        raise RunError("masks: this market opened no sum that these statistics could be of")
    check_sum(opened, masks)
    sizes = {name: masks.announcements[name].weight for name in masks.members or []}
    if context_of(recipe_json(recipe), {}, read_keys(instruction.texts, "union"), sizes) != masks.context:
        raise RunError("masks: these are not the items that the statistics were summed over")
    own, size = _places(instruction, node.prepare(recipe).items)
    try:
        return Statistics.of_table(opened.sums[TABLE], size).restricted(own)
    except (KeyError, ValueError):
        raise RunError("masks: the sum of the statistics cannot be read") from None


def mask_stage(node: MarketNode, instruction: Instruction) -> "MaskStage":
    """The stage for the answer to an instruction that came with the others' shares."""
    return MaskStage(node, instruction)


class MaskStage(Stage):
    """Turns what leaves into integers under masks: changes of parameters, statistics, or pairs over the union of items.

    The server can no longer look at a market's numbers, so the market checks their norm and that they are finite.
    """

    place = Place.MASK

    def __init__(self, node: MarketNode, instruction: Instruction) -> None:
        self.node = node
        self.instruction = instruction
        self.terms = Terms(node.folder.parents[1].name, "", instruction.round)

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Raise :class:`RunError` rather than send anything that does not fit, or without masks."""
        terms = replace(self.terms, action=origin.action)
        texts, recipe = self.instruction.texts, self.instruction.recipe
        members, cipher = texts.get("members", []), texts.get("shares", [])
        if len(members) != len(cipher):
            raise RunError("masks: shares of unequal length")
        received = dict(zip(members, cipher, strict=True))
        masks = _load(self.node, terms)
        everybody = [*members, self.node.store.name]
        if not set(everybody) <= set(masks.announcements):
            raise RunError("masks: a share of a market which announced nothing")
        sizes = {name: masks.announcements[name].weight for name in everybody}
        context = context_of(recipe_json(recipe), self.instruction.arrays, texts.get("union", []), sizes)
        weights = weights_by_market(recipe.federation.weights, sizes, recipe.federation.max_share)
        if origin.action == STATISTICS and PAIRS not in payload.arrays:
            plain = self._table(payload, sum(int(float(size)) for size in sizes.values()))
        elif origin.action in COUNTS:
            plain = self._pairs(payload)
        else:
            plain = self._update(payload, weights[self.node.store.name])
        return self._masked(payload, plain, masks, received, context)

    def _masked(
        self, payload: Payload, plain: Payload, masks: MarketMasks, received: dict[str, str], context: str
    ) -> Payload:
        recipe = self.instruction.recipe
        try:
            integers = {
                name: format_of(name, len(received) + 1, recipe.masks.range, noised=recipe.privacy.on).encode(array)
                for name, array in plain.sent.items()
            }
        except ValueError as error:
            raise RunError(f"masks: {error}; raise masks.range, or clip with update.clip_norm") from None
        masks.what = digest({**payload.sent, **{f"base {name}": array for name, array in payload.base.items()}})
        masked = masks.mask(integers, received, context)
        _save(self.node, masks)
        return replace(plain, arrays=masked, statistics={}, base={})

    def _update(self, payload: Payload, weight: float) -> Payload:
        """Changes of the parameters, weighed, and statistics as they are."""
        bound = self.instruction.recipe.federation.norm_bound
        changes = {
            name: np.asarray(array, np.float64) - np.asarray(payload.base[name], np.float64)
            for name, array in payload.arrays.items()
        }
        norm = float(np.sqrt(sum(np.vdot(change, change) for change in changes.values())))
        if not norm <= bound:  # NaN is not
            raise RunError(f"norm of the change above the bound {bound:.3g}")
        return replace(payload, arrays={name: weight * change for name, change in changes.items()})

    def _pairs(self, payload: Payload) -> Payload:
        """Item pairs, counted or noised, as an upper triangle over the union of all markets' items."""
        index, size = _places(self.instruction, payload.texts["items"])
        if size > _LARGEST_UNION:
            raise RunError(f"masks: pairs of {size} items are too many to be summed; at most {_LARGEST_UNION} are")
        return replace(payload, arrays={PAIRS: _triangle(payload.arrays, index, size)}, texts={})

    def _table(self, payload: Payload, cells: int) -> Payload:
        """Statistics as a table for so many counts of all markets, over the union of their items."""
        index, size = _places(self.instruction, payload.texts["items"])
        keys, counts = read_statistics(payload.arrays, len(index), 1).placed(index, size).cells()
        return replace(payload, arrays={TABLE: table_of(keys, counts, cells)}, texts={})


def _places(instruction: Instruction, keys: Sequence[str]) -> tuple[np.ndarray, int]:
    """Where a market's items stand among those of all, and how many these are."""
    union = read_keys(instruction.texts, "union")
    place = {key: index for index, key in enumerate(union)}
    if not place.keys() >= set(keys):
        raise RunError("masks: the union of items lacks items of this market")
    return np.array([place[key] for key in keys], np.int64), len(union)


def _triangle(arrays: Mapping[str, Array], index: np.ndarray, size: int) -> Array:
    if PAIRS in arrays:
        whole = np.zeros((size, size), np.float32)
        whole[np.ix_(index, index)] = symmetric(np.asarray(arrays[PAIRS], np.float32), len(index))
        return triangle_of(whole)
    first, second = index[arrays["first"]], index[arrays["second"]]
    low, high = np.minimum(first, second), np.maximum(first, second)
    triangle = np.zeros(size * (size + 1) // 2, np.int32)
    triangle[low * size - low * (low - 1) // 2 + high - low] = arrays["count"]
    return triangle


def _weight(node: MarketNode, recipe: Recipe, action: str) -> float:
    """How much a market counts in a sum; of statistics, how many counts it adds, for their table needs room."""
    if action in {PRETRAIN, REFIT}:
        if recipe.privacy.on:
            return float(node.store.users)
        trainer = shared_trainer(node, recipe)
        return trainer.refit_weight if action == REFIT else trainer.weight
    if action == STATISTICS and not recipe.privacy.on:
        return float(max(1, len(own_statistics(node, recipe).cells()[1])))
    return float(len(node.prepare(recipe).items)) if action == CODEBOOK else 1.0


def _terms(node: MarketNode, instruction: Instruction) -> Terms:
    (action,) = instruction.texts.get("action", [""])[:1] or [""]
    if not instruction.recipe.masks.enabled or action not in MASKED:
        raise RunError(f"masks: {action!r} is no action whose answers are masked")
    return Terms(node.folder.parents[1].name, action, instruction.round)


def _number(instruction: Instruction, name: str) -> int:
    (text,) = instruction.texts.get(name, ["?"])[:1]
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise RunError(f"masks: {name} is no number")
    return int(text)


def _memory(node: MarketNode) -> Path:
    """Where it is written down what was summed over whom."""
    return node.summed or node.folder / "summed.jsonl"


def _summed(node: MarketNode, recipe: Recipe, action: str) -> set[int]:
    """The rounds of this seed whose sums were opened, whatever the run was called."""
    own = _place(node, recipe, action)
    return {int(line["round"]) for line in read_json_lines(_memory(node)) if _alike(line, own, *own)}


def _place(node: MarketNode, recipe: Recipe, action: str) -> dict[str, Any]:
    """What a round of an action belongs to, whatever a run is called, and whatever else its recipe says.

    Recipes that differ in a clip norm or a learning rate treat one market otherwise than the rest. Another seed begins
    with unrelated parameters; counts depend on none.
    """
    seed = None if action in COUNTS else recipe.seed
    return {"data": node.store.fingerprint, "action": action, "seed": seed}


def _sets(node: MarketNode) -> set[tuple[str, ...]]:
    """Over whom the sums of these data were opened here."""
    lines = read_json_lines(_memory(node))
    return {tuple(line["over"]) for line in lines if line.get("data") == node.store.fingerprint}


def _under_way(node: MarketNode) -> Path:
    """The one sum that this market takes part in, whatever the run: what others were told of sums before must hold."""
    return _memory(node).with_suffix(".now")


def _remember(memory: Path, opened: dict[str, Any], told: Sequence[Sequence[str]]) -> None:
    """Note what is summed over whom, by which weights. Raises :class:`RunError` rather than let sums be compared:

    the same was summed before over other markets, or these data by other weights; the same round of the same seed,
    whatever the run is called, was another sum; or, of all sums that any of the markets knows of (``told``), one market
    would be in some that all others are not.
    """
    with exclusively(memory.with_suffix(".lock")):  # other runs have it too
        lines = read_json_lines(memory)
        if opened in lines:
            return
        if any(line["what"] == opened["what"] and not _alike(line, opened, "over", "by") for line in lines):
            raise RunError("masks: the same was summed before over other markets or weights; this sum is not opened")
        if any(_alike(line, opened, "data", "action") and not _alike(line, opened, "by") for line in lines):
            raise RunError("masks: these data were summed by other weights before; this sum is not opened")
        if any(_alike(line, opened, "data", "action", "round", "seed") for line in lines):
            raise RunError(
                f"masks: round {opened['round']} of this seed was another sum before, in this run or another; this "
                "one is not opened (a new run needs another seed, or new data)"
            )
        sets = [line["over"] for line in lines if line.get("data") == opened["data"]]
        alone = told_apart([*sets, *told, opened["over"]])
        if alone is not None:
            raise RunError(
                f"masks: with the sums before, this one would tell market {alone!r} from all others; it is not opened"
            )
        append_json_line(memory, opened, mode=0o600, durable=True)


def _alike(left: Mapping[str, Any], right: Mapping[str, Any], *names: str) -> bool:
    return all(left.get(name) == right.get(name) for name in names)


def _path(node: MarketNode, terms: Terms) -> Path:
    return node.folder / f"masks-{terms.action}-{terms.round:06d}.json"


def _save(node: MarketNode, masks: MarketMasks) -> None:
    """Keep a sum's secrets as long as it is the last one, and of those before what the next must follow from."""
    terms = masks.terms
    for number, old in _known(node, terms.action).items():
        if number <= terms.round - _KEPT or number > terms.round or not (old.used or number == terms.round):
            _path(node, old.terms).unlink()  # nothing will be made of it
        elif number < terms.round and old.seed:
            write_atomic(_path(node, old.terms), old.over().to_json().encode(), mode=0o600)
    for path in node.folder.glob("masks-*.json"):
        if not path.name.startswith(f"masks-{terms.action}-"):
            path.unlink()  # of another stage
    write_atomic(_path(node, terms), masks.to_json().encode(), mode=0o600)


def _known(node: MarketNode, action: str) -> dict[int, MarketMasks]:
    """This market's part in the sums of an action that are kept here, by round."""
    paths = node.folder.glob(f"masks-{action}-*.json")
    parts = [MarketMasks.from_json(path.read_text(encoding="utf-8")) for path in paths]
    return {masks.terms.round: masks for masks in parts}


def _load(node: MarketNode, terms: Terms) -> MarketMasks:
    masks = _known(node, terms.action).get(terms.round)
    if masks is None or not masks.seed:
        raise RunError(f"masks: nothing was begun here for {terms.action}, round {terms.round}, or it is over")
    return masks


def _identity(node: MarketNode) -> ec.EllipticCurvePrivateKey:
    if node.identity is None:
        raise RunError("masks: this node has no key to sign with; start it with identity-key in its configuration")
    try:
        key = load_ssh_private_key(node.identity.read_bytes(), None)
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RunError("masks: this node's identity-key is no ECDSA key in OpenSSH's form; make one with ssh-keygen")
    return key


def _known_keys(node: MarketNode) -> dict[str, ec.EllipticCurvePublicKey]:
    """Public keys of all markets, as this host's operator has them."""
    if node.market_keys is None:
        raise RunError("masks: this node knows nobody's key; start it with market-keys in its configuration")
    found = {}
    for path in sorted(node.market_keys.glob("*.pub")):
        try:
            found[path.stem] = read_public_key(path.read_text(encoding="utf-8"))
        except ValueError:
            raise RunError(f"masks: market-keys: {path.name} is no ECDSA key in OpenSSH's form") from None
    return found
