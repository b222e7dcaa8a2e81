"""A market's part in masked sums: it announces keys, shares secrets, masks what it sends, and opens shares once.

What it must remember from one message to the next lies in its own folder, readable by its owner alone, and is gone when
the sum is open.
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
from fedrec.files import write_atomic
from fedrec.masking.protocol import (
    Announcement,
    MarketMasks,
    Terms,
    default_threshold,
    read_public_key,
    sampled_count,
)
from fedrec.masking.ring import format_of
from fedrec.recipe import Recipe

MASKED = frozenset({PRETRAIN, CODEBOOK, CATALOGUE, GRAM})  # actions whose arrays leave under masks


def announce(node: MarketNode, instruction: Instruction) -> Payload:
    """Begin: fresh keys, signed by the node's own; and how much this market weighs in the sum."""
    terms = _terms(node, instruction)
    masks = MarketMasks.begin(node.store.name, terms)
    own = masks.announce(_identity(node))
    _save(node, masks)
    texts = {name: getattr(own, name) for name in ("encryption", "masking", "commitment", "signature")}
    return Payload(scalars={"weight": _weight(node, instruction.recipe, terms.action)}, texts=texts)


def share(node: MarketNode, instruction: Instruction) -> Payload:
    """Encrypted shares for all who announced themselves, after checking who they are."""
    masks = _load(node, _terms(node, instruction))
    fields = ("market", "encryption", "masking", "commitment", "signature")
    columns = [instruction.texts.get(name, []) for name in fields]
    if len({len(column) for column in columns}) != 1:
        raise RunError("masks: announcements of unequal length")
    announcements = [Announcement(*row) for row in zip(*columns, strict=True)]
    known, federation = _known_keys(node), instruction.recipe.federation
    # Of as many as should be asked, not of as many as the server says have answered.
    expected = sampled_count(len(known), federation.participation if masks.terms.round else 1.0)
    threshold = default_threshold(instruction.recipe.masks.threshold, expected)
    shares = masks.share(announcements, known, threshold)
    _save(node, masks)
    return Payload(texts={f"for.{name}": text for name, text in shares.items()})


def open_shares(node: MarketNode, instruction: Instruction) -> Payload:
    """The shares that the sum over those who came needs. After that nothing is left to open."""
    terms = _terms(node, instruction)
    opened = _load(node, terms).open(instruction.texts.get("survivors", []))
    _path(node, terms).unlink()
    return Payload(texts={f"of.{name}": text for name, text in opened.items()})


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
        masks = _load(self.node, terms)
        texts, recipe = self.instruction.texts, self.instruction.recipe
        members, cipher = texts.get("members", []), texts.get("shares", [])
        if len(members) != len(cipher):
            raise RunError("masks: shares of unequal length")
        received = dict(zip(members, cipher, strict=True))
        pairs = origin.action in {CATALOGUE, GRAM}
        plain = self._pairs(payload) if pairs else self._update(payload, recipe)
        try:
            integers = {
                name: format_of(name, len(received) + 1, recipe.masks.range, noised=recipe.privacy.on).encode(array)
                for name, array in plain.sent.items()
            }
        except ValueError as error:
            raise RunError(f"masks: {error}; raise masks.range, or clip with update.clip_norm") from None
        masked = masks.mask(integers, received)
        _save(self.node, masks)
        return replace(plain, arrays=masked, statistics={}, base={})

    def _update(self, payload: Payload, recipe: Recipe) -> Payload:
        """Changes of the parameters, weighed, and statistics as they are."""
        weight = float(self.instruction.texts.get("weight", ["nan"])[0])
        if not 0 < weight <= 1:
            raise RunError(f"masks: a weight of {weight} in the sum is refused")
        changes = {
            name: np.asarray(array, np.float64) - np.asarray(payload.base[name], np.float64)
            for name, array in payload.arrays.items()
        }
        norm = float(np.sqrt(sum(np.vdot(change, change) for change in changes.values())))
        if not norm <= recipe.federation.norm_bound:  # NaN is not
            raise RunError(f"norm of the change {norm:.3g} above the bound {recipe.federation.norm_bound:.3g}")
        return replace(payload, arrays={name: weight * change for name, change in changes.items()})

    def _pairs(self, payload: Payload) -> Payload:
        """Item pairs, counted or noised, as an upper triangle over the union of all markets' items."""
        union = read_keys(self.instruction.texts, "union")
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
    (action,) = instruction.texts.get("action", [""])
    if not instruction.recipe.masks.enabled or action not in MASKED:
        raise RunError(f"masks: {action!r} is no action whose answers are masked")
    return Terms(node.folder.parents[1].name, action, instruction.round)


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
