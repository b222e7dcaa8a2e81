"""A market's part in masked sums: it announces keys, shares secrets, masks what it sends, and opens shares once.

What it must remember from one message to the next lies in its own folder, readable by its owner alone, and is gone when
the sum is open. A market answers one message at a time (:func:`clients.messages.answer`): two that read and write the
same state would undo what it is there for.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from clients.instruction import Instruction
from clients.node import MarketNode
from fedrec.errors import RunError
from fedrec.exchange.declaration import CATALOGUE, CODEBOOK, GRAM, PRETRAIN
from fedrec.exchange.keys import read_keys
from fedrec.exchange.noised_pairs import PAIRS, symmetric, triangle_of
from fedrec.exchange.payload import Array, Origin, Payload
from fedrec.exchange.pipeline import Stage
from fedrec.exchange.weights import weights_by_market
from fedrec.files import append_json_line, exclusively, read_json_lines, write_atomic
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
MASKED = frozenset({PRETRAIN, CODEBOOK, CATALOGUE, GRAM})  # actions whose arrays leave under masks


def announce(node: MarketNode, instruction: Instruction) -> Payload:
    """Begin: fresh keys and how much this market weighs in the sum, signed by the node's own key."""
    terms = _terms(node, instruction)
    masks = MarketMasks.begin(node.store.name, terms)
    own = masks.announce(_identity(node), _weight(node, instruction.recipe, terms.action))
    _save(node, masks)
    return Payload(texts={name: getattr(own, name) for name in ANNOUNCED})


def share(node: MarketNode, instruction: Instruction) -> Payload:
    """Encrypted shares for all who announced themselves, after checking who they are and that they are enough."""
    columns = [instruction.texts.get(name, []) for name in ("market", *ANNOUNCED)]
    if len({len(column) for column in columns}) != 1:
        raise RunError("masks: announcements of unequal length")
    announcements = [Announcement(*row) for row in zip(*columns, strict=True)]
    threshold = _number(instruction, "threshold")
    least = max(node.least_markets, default_threshold(instruction.recipe.masks.threshold, len(announcements)))
    if threshold < least:
        raise RunError(f"masks: a threshold of {threshold} markets is refused; this node asks for {least}")
    masks = _load(node, _terms(node, instruction))
    shares = masks.share(announcements, _known_keys(node), threshold)
    _save(node, masks)
    return Payload(texts={f"for.{name}": text for name, text in shares.items()})


def open_shares(node: MarketNode, instruction: Instruction) -> Payload:
    """The shares that the sum over those who came needs; and never another sum of the same.

    What was summed over whom is remembered, on the operator's host over all runs: a round that is done again after an
    interruption sends the same update, another run the same counts, and with other markets, or other weights, several
    sums would be equations for somebody's own.
    """
    terms, survivors = _terms(node, instruction), sorted(instruction.texts.get("survivors", []))
    weights = "" if terms.action in {CATALOGUE, GRAM} else instruction.recipe.federation.weights
    masks = _load(node, terms)
    opened = masks.open(survivors)
    _remember(node.summed or node.folder / "summed.jsonl", {"what": masks.what, "over": survivors, "by": weights})
    _save(node, masks)
    return Payload(texts={f"of.{name}": text for name, text in opened.items()})


def forget_masks(node: MarketNode) -> None:
    """Remove what is left of masked sums when all of them are over, opened or not."""
    for path in node.folder.glob("masks-*.json"):
        path.unlink()


def mask_stage(node: MarketNode, instruction: Instruction) -> "MaskStage":
    """The stage for the answer to an instruction that came with the others' shares."""
    return MaskStage(node, instruction)


class MaskStage(Stage):
    """Turns what leaves into integers under masks: changes of parameters, statistics, or pairs over the union of items.

    The server can no longer look at a market's numbers, so the market checks their norm and that they are finite.
    """

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
        return self._masked(payload, masks, received, weights[self.node.store.name], context)

    def _masked(
        self, payload: Payload, masks: MarketMasks, received: dict[str, str], weight: float, context: str
    ) -> Payload:
        recipe = self.instruction.recipe
        plain = self._pairs(payload) if masks.terms.action in {CATALOGUE, GRAM} else self._update(payload, weight)
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
        union = read_keys(self.instruction.texts, "union")
        if len(union) > _LARGEST_UNION:
            raise RunError(
                f"masks: pairs of {len(union)} items are too many to be summed; at most {_LARGEST_UNION} are"
            )
        keys = list(payload.texts["items"])
        place = {key: index for index, key in enumerate(union)}
        missing = [key for key in keys if key not in place]
        if missing:
            raise RunError("masks: the union of items lacks items of this market")
        index = np.array([place[key] for key in keys], np.int64)
        triangle = _triangle(payload.arrays, index, len(union))
        return replace(payload, arrays={PAIRS: triangle}, texts={})


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
    if action == PRETRAIN:
        return float(node.store.users if recipe.privacy.on else len(node.prepare(recipe).train.items))
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


def _remember(memory: Path, opened: dict[str, str | list[str]]) -> None:
    """Note what is summed over whom, by which weights; raises :class:`RunError` where that was otherwise before."""
    with exclusively(memory.with_suffix(".lock")):  # other runs have it too
        before = next((line for line in read_json_lines(memory) if line["what"] == opened["what"]), None)
        if before is None:
            append_json_line(memory, opened, mode=0o600, durable=True)
        elif before != opened:
            raise RunError("masks: the same was summed before over other markets or weights; this sum is not opened")


def _path(node: MarketNode, terms: Terms) -> Path:
    return node.folder / f"masks-{terms.action}-{terms.round}.json"


def _save(node: MarketNode, masks: MarketMasks) -> None:
    path = _path(node, masks.terms)
    for old in node.folder.glob("masks-*.json"):
        if old != path:
            old.unlink()  # of a sum that was never opened
    write_atomic(path, masks.to_json().encode(), mode=0o600)


def _load(node: MarketNode, terms: Terms) -> MarketMasks:
    path = _path(node, terms)
    if not path.is_file():
        raise RunError(
            f"masks: nothing was begun here for {terms.action}, round {terms.round}, or it was opened before"
        )
    return MarketMasks.from_json(path.read_text(encoding="utf-8"))


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
