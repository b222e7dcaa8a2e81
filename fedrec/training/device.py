"""Where a market computes: its GPU, or the CPU (on one thread, see ``fedrec.threads``)."""

from contextlib import nullcontext

import torch

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
