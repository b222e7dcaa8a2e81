"""Noise that only the market can make, and makes again exactly where it must send the same thing again.

A market holds a secret of 32 bytes. What is drawn for a purpose (a round, a step, what went into it) is a keystream of
ChaCha20 under a key derived from both: nobody without the secret can tell it from random, and a retry of the same
release draws the same numbers, so that a lost answer costs nothing. The recipe's seed, which the coordinator knows, has
no part in it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray
from scipy.special import ndtri

from fedrec.files import write_atomic

SECRET_BYTES = 32
_BITS = 53  # of a double's mantissa


def digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """What stands for some arrays: equal for equal names, types, shapes and values, and for nothing else."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name}\x1f{array.dtype.str}\x1f{array.shape}\x1e".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def kept_secret(path: Path) -> bytes:
    """The secret in a file that only its owner can read; made on first use."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, secrets.token_bytes(SECRET_BYTES), mode=0o600)
    return path.read_bytes()


class SecretNoise:
    """Random numbers of one market. ``run`` keeps those of different runs apart."""

    def __init__(self, secret: bytes, run: str) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a market's secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self._secret = secret
        self._run = run

    def uniform(self, count: int, *purpose: str | int) -> NDArray[np.float64]:
        """``count`` numbers in the open interval (0, 1), drawn for ``purpose``."""
        return _uniform(np.frombuffer(_keystream(self._key(*purpose), 8 * count), np.uint64))

    def chances(self, people: Sequence[str], *purpose: str | int) -> NDArray[np.float64]:
        """One number in (0, 1) for each of ``people``, drawn for ``purpose`` and that person alone, [P]."""
        key = self._key(*purpose)
        drawn = b"".join(hmac.digest(key, person.encode(), hashlib.sha256)[:8] for person in people)
        return _uniform(np.frombuffer(drawn, np.uint64))

    def words(self, person: str, count: int, *purpose: str | int) -> NDArray[np.uint16]:
        """``count`` random words drawn for ``purpose`` and one person alone."""
        key = hmac.digest(self._key(*purpose), person.encode(), hashlib.sha256)
        return np.frombuffer(_keystream(key, 2 * count), np.uint16)

    def gaussian(self, shape: tuple[int, ...], *purpose: str | int) -> NDArray[np.float64]:
        """Standard normal numbers, drawn for ``purpose``: quantiles of uniform ones.

        In floating point the lowest bits of a noised number tell a little of what was noised (Mironov, CCS 2012); what
        is sent is therefore rounded to single precision, and the noise is drawn in double.
        """
        count = int(np.prod(shape, dtype=np.int64))
        return np.asarray(ndtri(self.uniform(count, *purpose)), np.float64).reshape(shape)

    def _key(self, *purpose: str | int) -> bytes:
        text = "\x1f".join([self._run, *map(str, purpose)])
        return hmac.digest(self._secret, text.encode(), hashlib.sha256)


def _keystream(key: bytes, count: int) -> bytes:
    return Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(count))


def _uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    return ((words >> np.uint64(64 - _BITS)).astype(np.float64) + 0.5) * 2.0**-_BITS
