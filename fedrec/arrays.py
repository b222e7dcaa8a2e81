"""Arrays on disk (safetensors), read so that a damaged file is named instead of ending in a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load as load_tensors

from fedrec.errors import UserError

Arrays = TypeVar("Arrays")
_REMEDY = "is the run folder damaged? restore it, or run again"


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file; raises :class:`UserError` for one that is none."""
    return _read(path, load_arrays)


def load_whole(module: torch.nn.Module, path: Path) -> None:
    """Load every parameter of a module from a file, no more and no less.

    Raises :class:`UserError` where names or shapes differ, and for a file that is none.
    """
    state = _read(path, load_tensors)
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            here, there = (str(shapes.get(name, "missing")) for shapes in (found, expected))
            raise UserError(f"{path}: {name[:80]} is {here}, the recipe's model has {there}; {_REMEDY}")
    module.load_state_dict(state)


def _read(path: Path, load: Callable[[bytes], Arrays]) -> Arrays:
    if not path.is_file():
        raise UserError(f"{path}: missing; {_REMEDY}")
    data = path.read_bytes()
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not readable as safetensors; {_REMEDY}") from None
