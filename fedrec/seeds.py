"""Random generators, each derived from the recipe's seed and the names of what it is for.

A generator depends on what is drawn and for whom, never on what ran before, so markets may be trained in any
order and in any process with the same outcome.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one purpose: SHA-256 over the recipe's seed and ``names``.

    >>> derive_seed(0, "jp", 3) == derive_seed(0, "jp", 3) != derive_seed(0, "jp", 4)
    True
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derive_seed(seed, *names))


@contextmanager
def seeded_torch(seed: int, *names: str | int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them afterwards.

    Dropout and parameter initialisation take no generator of their own, so the global one is forked.
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        derived = derive_seed(seed, *names)
        torch.default_generator.manual_seed(derived)  # torch.manual_seed looks for every kind of device, each time
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(derived)
        yield
