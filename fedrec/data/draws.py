"""Chance about users that follows each of them: what is drawn for one depends on a key and that user alone.

So one user more or less moves nobody else: which users are known so far (``data.user_share``; a larger share contains
the smaller), and in which order rows of one moment stand (``evaluation.ties=random``).
"""

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedrec.seeds import derive_seed

_BITS = 53  # of a double's mantissa


class UserDraws:
    """Draws about one market's users."""

    def __init__(self, key: bytes) -> None:
        """``key``: the market's secret under privacy, so that nobody else can choose who is drawn."""
        self._key = key

    @classmethod
    def of_seed(cls, seed: int, market: str) -> "UserDraws":
        """Those that everybody can repeat."""
        return cls(derive_seed(seed, market, "users").to_bytes(8, "big"))

    @property
    def name(self) -> str:
        """What stands for the key, and tells nothing of it."""
        return hashlib.sha256(b"name" + self._key).hexdigest()

    def chances(self, users: Sequence[str], purpose: str) -> NDArray[np.float64]:
        """A number in [0, 1) for each of ``users``, [U]."""
        drawn = np.frombuffer(b"".join(self._digest(user, purpose)[:8] for user in users), np.uint64)
        return (drawn >> np.uint64(64 - _BITS)).astype(np.float64) * 2.0**-_BITS

    def generator(self, user: str, purpose: str) -> np.random.Generator:
        """A generator for one user."""
        return np.random.default_rng(list(self._digest(user, purpose)))

    def _digest(self, user: str, purpose: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}\x1f{user}".encode(), hashlib.sha256)
