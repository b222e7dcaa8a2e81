"""Where and how a market computes: on its GPU, or on the CPU (on one thread, see ``fedrec.threads``)."""

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.errors import UserError

GPU = "cuda"
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def has_gpu() -> bool:
    """Whether this machine has one that torch can use."""
    return torch.cuda.is_available()


def choose_device(wanted: str) -> torch.device:
    """``auto`` takes a GPU where there is one. Raises :class:`UserError` if ``cuda`` is asked for in vain."""
    available = has_gpu()
    if wanted == "cuda" and not available:
        raise UserError("training.device = cuda: no CUDA device on this machine; use auto or cpu")
    return torch.device(GPU if wanted == "cuda" or (wanted == "auto" and available) else "cpu")


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 on a GPU and float32 on a CPU, where most have no units for bfloat16."""
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return _PRECISIONS[wanted]


def mixed_precision(device: torch.device, precision: torch.dtype) -> "torch.autocast | nullcontext[None]":
    """Autocast: matrix products in ``precision``, sums and norms in float32. Nothing where that is float32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


def on_device(device: torch.device, *arrays: NDArray[np.generic]) -> list[Tensor]:
    """Arrays as tensors there. They go to a GPU through pinned memory, so that nobody waits for the copy."""
    tensors = [torch.from_numpy(array) for array in arrays]
    if device.type != "cuda":
        return [tensor.to(device) for tensor in tensors]
    return [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]
