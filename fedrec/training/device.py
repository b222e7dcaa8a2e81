"""Where a market computes: one thread on a CPU, so that every engine adds in the same order, or its GPU."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from threadpoolctl import threadpool_limits

from fedrec.errors import UserError


def choose_device(wanted: str) -> torch.device:
    """``auto`` takes a GPU where there is one. Raises :class:`UserError` if ``cuda`` is asked for in vain."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UserError("training.device = cuda: no CUDA device on this machine; use auto or cpu")
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and available) else "cpu")


def mixed_precision(device: torch.device) -> "torch.autocast | nullcontext[None]":
    """bf16 autocast on a GPU; nothing on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for BLAS and torch: sums in two threads differ in the last bit, and EASE moves ranks by it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
