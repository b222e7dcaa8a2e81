"""Sums that reveal nothing but themselves: SecAgg (Bonawitz et al., CCS 2017) over Flower's own primitives.

In four messages: every market announces fresh keys, signed by its node key; sends the others encrypted shares of the
secrets behind its masks; sends its integers plus a mask of its own and one it has in common with every other market,
which cancel in the sum; and when all that come have come, gives away its shares: of the own masks of those who came,
of the keys of those who did not, never both of one market. Fewer than ``threshold`` markets can open nothing.

SecAgg+ (Bell et al., CCS 2020) lets each market share with a few neighbours only; markets are few here, and all of
them are neighbours. Primitives: Flower's key agreement (ECDH, HKDF), authenticated encryption (Fernet), Shamir shares
and signatures; masks are keystreams of ChaCha20, where Flower's helper takes a generator that is not cryptographic.
"""

import hashlib
import itertools
import json
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt, generate_shared_key
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
    sign_message,
    verify_signature,
)
from numpy.typing import NDArray

from fedrec.errors import RunError
from fedrec.masking.ring import Ring
from fedrec.privacy.noise import digest

_SEED_BYTES = 32
_SEED, _KEY = "seed", "key"
_PLAIN = (  # fields of a market's part that are JSON as they are
    *("market", "encryption", "masking", "seed", "threshold", "ciphers", "shares", "members", "context", "used"),
    *("what", "opened", "total", "answer"),
)
_HEAVIEST = 1e12
_TRIES = 100  # combinations of shares, where some are false


@dataclass(frozen=True)
class Terms:
    """Which sum this is. Bound into signatures and masks, so that nothing of one sum is of use in another.

    ``context`` stands for all that the answers are made from and weighed by. It is bound into masks, so that they
    cancel only among markets that were told the same: a server that tells one market something else gets noise.
    """

    run: str
    action: str
    round: int
    context: str = ""

    def bytes(self) -> bytes:
        """All of it, unambiguously."""
        return "\x1f".join([self.run, self.action, str(self.round), self.context]).encode()


@dataclass(frozen=True)
class Announcement:
    """What a market tells everybody: two fresh public keys, a commitment to its own mask, and its signature."""

    market: str
    encryption: str  # public key (PEM) that shares for it are encrypted under
    masking: str  # public key that its common masks come from
    commitment: str  # SHA-256 of its own mask's seed
    weight: str  # how much it weighs in an average, a number
    sums: str = "[]"  # the sets of markets that it was summed with before, on the same data: JSON lists of names
    signature: str = ""

    def signed(self, terms: Terms) -> bytes:
        """What the signature is over."""
        own = [self.market, self.encryption, self.masking, self.commitment, self.weight, self.sums]
        parts = [terms.bytes().decode(), *own]
        return "\x1e".join(parts).encode()

    def check(self) -> None:
        """Raise ``ValueError`` where a key is none, or the weight no weight."""
        for text in (self.encryption, self.masking):
            if not isinstance(bytes_to_public_key(text.encode()).curve, ec.SECP384R1):
                raise ValueError("a key of another curve")
        bytes.fromhex(self.signature)
        if not 0 < float(self.weight) < _HEAVIEST:
            raise ValueError(f"a weight of {float(self.weight):g}")
        _ = self.sets

    @property
    def sets(self) -> list[list[str]]:
        """``sums``, read; raises ``ValueError`` for what is no list of lists of names."""
        found = json.loads(self.sums)
        if not isinstance(found, list) or not all(
            isinstance(names, list) and all(isinstance(name, str) for name in names) for names in found
        ):
            raise ValueError("sums before are no lists of names")
        return found


ANNOUNCED = ("encryption", "masking", "commitment", "weight", "sums", "signature")  # in the order of the fields


@dataclass
class MarketMasks:
    """One market's part in one sum, from the announcement to the opening; lives on the market's own disk meanwhile."""

    market: str
    terms: Terms
    encryption: str  # private keys (PEM)
    masking: str
    seed: str
    announcements: dict[str, Announcement]
    threshold: int = 0
    ciphers: dict[str, str] | None = None  # by market: what was encrypted for it
    shares: dict[str, dict[str, str]] | None = None  # by market: its shares that this market holds
    members: list[str] | None = None  # whose masks are in the sum
    context: str = ""  # see :class:`Terms`
    used: str = ""  # digest of what was masked: masks hide one thing only
    what: str = ""  # digest of what it was made of, whatever it weighs here: for the market's own memory
    opened: list[str] | None = None  # over whom the sum was opened; others' shares are gone then, ``answer`` is left
    total: str = ""  # digest of the masked sum that was to be opened
    answer: dict[str, str] | None = None

    @classmethod
    def begin(cls, market: str, terms: Terms) -> "MarketMasks":
        """Draw fresh keys and a fresh mask."""
        encryption, masking = (private_key_to_bytes(generate_key_pairs()[0]).decode() for _ in range(2))
        return cls(market, terms, encryption, masking, secrets.token_hex(_SEED_BYTES), {})

    def announce(
        self, identity: ec.EllipticCurvePrivateKey, weight: float, sums: Iterable[Sequence[str]] = ()
    ) -> Announcement:
        """What to tell everybody, signed by the market's node key; asked again, the same."""
        if self.market in self.announcements:
            return self.announcements[self.market]
        encryption, masking = _public(self.encryption), _public(self.masking)
        before = json.dumps(sorted({tuple(sorted(names)) for names in sums}), separators=(",", ":"))
        own = Announcement(self.market, encryption, masking, _commitment(self.seed), repr(float(weight)), before)
        own = replace(own, signature=sign_message(identity, own.signed(self.terms)).hex())
        self.announcements = {self.market: own}
        return own

    def share(
        self, announcements: Iterable[Announcement], known: Mapping[str, ec.EllipticCurvePublicKey], threshold: int
    ) -> dict[str, str]:
        """Encrypted shares for every other market. Raises :class:`RunError` for who did not sign, or too few.

        Asked again for the same markets, as after a lost answer, it says the same.
        """
        announcements = list(announcements)
        if self.ciphers is not None:
            if {found.market: found for found in announcements} != self.announcements or threshold != self.threshold:
                raise RunError("masks: shares were given out before, among other markets")
            return self.ciphers
        self.announcements = {}
        for announcement in announcements:
            name = announcement.market
            if name in self.announcements:
                raise RunError(f"masks: market {name!r} announced itself twice")
            if name not in known:
                raise RunError(f"masks: no key of market {name!r} is known here; give its public key to this node")
            try:
                announcement.check()
            except ValueError:
                raise RunError(f"masks: what market {name!r} announced cannot be read") from None
            signature = bytes.fromhex(announcement.signature)
            if not verify_signature(known[name], announcement.signed(self.terms), signature):
                raise RunError(f"masks: what market {name!r} announced is not signed by its key")
            self.announcements[name] = announcement
        count = len(self.announcements)
        if self.market not in self.announcements or self.announcements[self.market].commitment != _commitment(
            self.seed
        ):
            raise RunError("masks: this market's own announcement came back changed")
        if not count // 2 < threshold <= count:
            raise RunError(f"masks: a threshold of {threshold} of {count} markets is refused")
        self.threshold = threshold
        names = sorted(self.announcements)
        parts = {
            kind: dict(zip(names, create_shares(secret.encode(), threshold, count), strict=True))
            for kind, secret in ((_SEED, self.seed), (_KEY, self.masking))
        }
        bundles = {
            name: {"from": self.market, "to": name, _SEED: parts[_SEED][name].hex(), _KEY: parts[_KEY][name].hex()}
            for name in names
        }
        self.shares = {self.market: {kind: bundles[self.market][kind] for kind in (_SEED, _KEY)}}
        self.ciphers = {
            name: encrypt(self._channel(name), json.dumps(bundle).encode()).decode()
            for name, bundle in bundles.items()
            if name != self.market
        }
        return self.ciphers

    def mask(self, arrays: Mapping[str, Ring], received: Mapping[str, str], context: str = "") -> dict[str, Ring]:
        """The arrays under masks. ``received``: by market, its share for this one; who sent none has no part in it.

        Raises :class:`RunError` for a share that is none, too few of them, or a second thing under the same masks; the
        same again is masked the same.
        """
        if self.ciphers is None:
            raise RunError("masks: nothing was shared for this sum; begin again")
        digest = hashlib.sha256()
        for name in sorted(arrays):
            digest.update(f"{name}\x1f{arrays[name].dtype.str}\x1f{arrays[name].shape}\x1e".encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
        digest.update("\x1f".join([context, *sorted(received)]).encode())
        if self.used not in {"", digest.hexdigest()}:
            raise RunError("masks: something else was sent under these masks before; begin again")
        if self.shares is not None:  # not opened yet
            shares = {self.market: self.shares[self.market]}
            for name, encrypted in sorted(received.items()):
                shares[name] = self._opened_bundle(name, encrypted)
            if len(shares) < self.threshold:
                raise RunError(f"masks: {len(shares)} markets take part, {self.threshold} are needed")
            self.shares, self.members = shares, sorted(shares)
        self.used, self.context = digest.hexdigest(), context
        result, terms = dict(arrays), replace(self.terms, context=context)
        streams = {**{name: self._common(name) for name in received}, self.market: bytes.fromhex(self.seed)}
        for name in sorted(result):
            total = np.array(result[name])
            for other, key in sorted(streams.items()):
                mask = mask_of(key, terms, name, total)
                total = total - mask if other < self.market else total + mask
            result[name] = total
        return result

    def open(self, survivors: Sequence[str], total: str = "") -> dict[str, str]:
        """The shares that the sum of ``survivors`` needs: of their own masks, and of the keys of those who dropped out.

        Over one set only: shares of both kinds of one market would bare what it sent. ``total``: digest of the masked
        sum, by which the opened one is known when it comes back. Asked again for the same, as after a lost answer, it
        says the same; the others' shares are forgotten.
        """
        if self.opened is not None and self.answer is not None:
            if sorted(survivors) != self.opened or total != self.total:
                raise RunError("masks: this sum was opened before, over other markets")
            return self.answer
        if self.shares is None or not self.used:
            raise RunError("masks: nothing was masked for this sum, there is nothing to open")
        came = set(survivors)
        if self.market not in came or not came <= set(self.shares) or len(came) < self.threshold:
            raise RunError(
                f"masks: a sum over {len(came)} markets is refused; {self.threshold} of the sharing are needed"
            )
        self.opened, self.total = sorted(came), total
        self.answer = {name: held[_SEED if name in came else _KEY] for name, held in sorted(self.shares.items())}
        self.shares = None
        return self.answer

    def over(self) -> "MarketMasks":
        """Without keys and shares: what is left when the next sum begins, to know again what came of this one."""
        return replace(self, encryption="", masking="", seed="", ciphers=None, shares=None, answer=None)

    def to_json(self) -> str:
        """As it lies on the market's disk."""
        return json.dumps(
            {
                **{name: getattr(self, name) for name in _PLAIN},
                "terms": vars(self.terms),
                "announcements": {name: vars(found) for name, found in self.announcements.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "MarketMasks":
        """The way back."""
        values = json.loads(text)
        announcements = {name: Announcement(**found) for name, found in values.pop("announcements").items()}
        return cls(terms=Terms(**values.pop("terms")), announcements=announcements, **values)

    def _opened_bundle(self, name: str, encrypted: str) -> dict[str, str]:
        if name not in self.announcements or name == self.market:
            raise RunError(f"masks: a share of market {name!r}, which announced nothing")
        try:
            bundle = json.loads(decrypt(self._channel(name), encrypted.encode()))
        except Exception:
            raise RunError(f"masks: the share of market {name!r} cannot be read") from None
        if (bundle.get("from"), bundle.get("to")) != (name, self.market):
            raise RunError(f"masks: a share from {bundle.get('from')!r} came as one of market {name!r}")
        return {kind: str(bundle[kind]) for kind in (_SEED, _KEY)}

    def _channel(self, name: str) -> bytes:
        return _agreed(self.encryption, self.announcements[name].encryption)

    def _common(self, name: str) -> bytes:
        return _agreed(self.masking, self.announcements[name].masking)


def unmask(
    totals: Mapping[str, Ring],
    terms: Terms,
    announcements: Mapping[str, Announcement],
    survivors: Sequence[str],
    opened: Mapping[str, Mapping[str, str]],
    threshold: int,
) -> dict[str, Ring]:
    """Take the masks off sums over ``survivors``, at the server.

    ``announcements``: of all who shared; ``opened``: by market that answered, the share of every one of them.
    Raises :class:`RunError` where too few answered, or what they gave does not fit what was announced.
    """
    return without_masks(
        totals, terms, announcements, survivors, secrets_of(announcements, survivors, opened, threshold)
    )


def secrets_of(
    announcements: Mapping[str, Announcement],
    survivors: Sequence[str],
    opened: Mapping[str, Mapping[str, str]],
    threshold: int,
) -> dict[str, str]:
    """By market, what its masks come from: the own seed of one that came, the private key of one that did not."""
    if len(opened) < threshold:
        raise RunError(f"masks: {len(opened)} markets opened their shares, {threshold} are needed; nothing is revealed")
    return {name: _combined(name, announcements, survivors, opened, threshold) for name in sorted(announcements)}


def without_masks(
    totals: Mapping[str, Ring],
    terms: Terms,
    announcements: Mapping[str, Announcement],
    survivors: Sequence[str],
    secret: Mapping[str, str],
) -> dict[str, Ring]:
    """Sums without the masks that ``secret`` makes, see :func:`secrets_of`."""
    return {
        name: total - _masks_in(total, name, terms, announcements, survivors, secret) for name, total in totals.items()
    }


def with_masks(
    sums: Mapping[str, Ring],
    terms: Terms,
    announcements: Mapping[str, Announcement],
    survivors: Sequence[str],
    secret: Mapping[str, str],
) -> dict[str, Ring]:
    """The way back, at a market. Raises :class:`RunError` for a secret that is not the one that was announced."""
    for name, announced in sorted(announcements.items()):
        if not _fits(secret.get(name, ""), announced, name in survivors):
            raise RunError(f"masks: what is said of the masks of market {name!r} does not fit what it announced")
    return {
        name: total + _masks_in(total, name, terms, announcements, survivors, secret) for name, total in sums.items()
    }


def _masks_in(
    like: Ring,
    name: str,
    terms: Terms,
    announcements: Mapping[str, Announcement],
    survivors: Sequence[str],
    secret: Mapping[str, str],
) -> Ring:
    """All masks that a sum over ``survivors`` holds."""
    result = np.zeros_like(like)
    for market in sorted(survivors):
        result += mask_of(bytes.fromhex(secret[market]), terms, name, like)
    for dropped in sorted(set(announcements) - set(survivors)):
        for market in sorted(survivors):
            common = mask_of(_agreed(secret[dropped], announcements[market].masking), terms, name, like)
            result += -common if dropped < market else common  # what the survivor did
    return result


def mask_of(key: bytes, terms: Terms, name: str, like: Ring) -> Ring:
    """The mask that a key gives for an array of that name: uniform integers, of the shape and type of ``like``."""
    secret = hashlib.sha256(b"\x1e".join([key, terms.bytes(), name.encode()])).digest()
    stream = Cipher(ChaCha20(secret, bytes(16)), mode=None).encryptor().update(bytes(like.nbytes))
    return np.frombuffer(stream, like.dtype).reshape(like.shape)


def read_announcement(market: str, texts: Mapping[str, object]) -> Announcement:
    """What a market announced, as it came; raises ``ValueError`` for what is none."""
    if not all(isinstance(texts.get(name), str) for name in ANNOUNCED):
        raise ValueError("masks: an announcement without all its parts")
    found = Announcement(market, *(str(texts[name]) for name in ANNOUNCED))
    try:
        found.check()
    except ValueError as error:
        raise ValueError(f"masks: an announcement that cannot be: {error}") from None
    return found


def context_of(
    recipe: str, base: Mapping[str, NDArray[np.generic]], union: Sequence[str], weights: Mapping[str, str]
) -> str:
    """What stands for all that a sum's answers are made from: recipe, arrays, items, and who weighs how much."""
    parts = [recipe, digest(base), *union, "\x1d", *(f"{name}={weights[name]}" for name in sorted(weights))]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def default_threshold(share: float, markets: int) -> int:
    """How many markets must stay to the end, of so many.

    >>> default_threshold(0.7, 7)
    5
    """
    return max(2, markets // 2 + 1, math.ceil(share * markets - 1e-9))


def read_public_key(text: str) -> ec.EllipticCurvePublicKey:
    """A node's public key in OpenSSH's form; raises ``ValueError`` for anything else."""
    try:
        key = load_ssh_public_key(text.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not an ECDSA key")
    return key


def _combined(
    name: str,
    announcements: Mapping[str, Announcement],
    survivors: Sequence[str],
    opened: Mapping[str, Mapping[str, str]],
    threshold: int,
) -> str:
    """The seed of a market that came, the private key of one that did not, checked against what it announced."""
    shares = [given[name] for _, given in sorted(opened.items()) if name in given]
    if len(shares) < threshold:
        raise RunError(f"masks: {len(shares)} shares of market {name!r} came, {threshold} are needed")
    for chosen in itertools.islice(itertools.combinations(shares, threshold), _TRIES):  # a false share spoils its own
        try:
            secret = combine_shares([bytes.fromhex(share) for share in chosen]).decode()
        except (ValueError, IndexError):
            continue
        if _fits(secret, announcements[name], name in survivors):
            return secret
    raise RunError(f"masks: the shares of market {name!r} do not fit what it announced; the sum stays closed")


def _fits(secret: str, announced: Announcement, came: bool) -> bool:
    """Whether a secret is what was announced: the seed of a market that came, the key of one that did not."""
    try:
        return _commitment(secret) == announced.commitment if came else _public(secret) == announced.masking
    except ValueError:
        return False


def _public(private: str) -> str:
    return public_key_to_bytes(bytes_to_private_key(private.encode()).public_key()).decode()


def _agreed(private: str, public: str) -> bytes:
    return generate_shared_key(bytes_to_private_key(private.encode()), bytes_to_public_key(public.encode()))


def _commitment(seed: str) -> str:
    return hashlib.sha256(bytes.fromhex(seed)).hexdigest()
