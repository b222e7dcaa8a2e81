"""A device that computes on the CPU and is as strict as a card: what lies there and what lies here do not mix.

Its tensors say that they are on ``lazy``, which torch has a name for and no kernels. Who reads one as an array, or adds
one to a tensor of the CPU, is stopped as on a GPU; an index may lie on the CPU, and so may a single number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "lazy"
_ATEN = torch.ops.aten
_CPU = torch.device("cpu")
_BOTH = {  # copies between devices; an index of the CPU
    _ATEN._to_copy.default,
    _ATEN.copy_.default,
    _ATEN.index.Tensor,
    _ATEN.index_put.default,
    _ATEN.index_put_.default,
    _ATEN._index_put_impl_.default,
}


class There(torch.Tensor):
    """A tensor on the device; ``here`` has its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "There":
        made: There = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=NAME
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _EveryCall(TorchDispatchMode):
    """Sees what makes tensors out of none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, There)]
    if there and func not in _BOTH and any(tensor.dim() and not isinstance(tensor, There) for tensor in tensors):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    args, others = tree_map(lambda value: value.here if isinstance(value, There) else value, (args, kwargs))
    result_there = bool(there)
    named = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.device)]
    if named:
        result_there = named[0].type == NAME
        args, others = tree_map(lambda value: _CPU if isinstance(value, torch.device) else value, (args, others))
    found = func(*args, **others)
    if func is _ATEN._local_scalar_dense.default:
        return found
    changed = {id(value.here): value for value in there}  # what is changed in place stays the same tensor

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not result_there:
            return value
        if id(value) in changed:
            return changed[id(value)]
        return There(value)

    return tree_map(wrapped, found)


def _no_gradients(self: Any) -> None:
    self.gradients = torch.is_grad_enabled()
    torch.set_grad_enabled(False)


def _gradients_as_before(self: Any, *_: object) -> None:
    torch.set_grad_enabled(self.gradients)


@contextmanager
def other_device(monkeypatch: Any) -> Iterator[None]:
    """Inside the block it is the machine's GPU."""
    monkeypatch.setattr("fedrec.training.device.GPU", NAME)
    monkeypatch.setattr("fedrec.training.device.has_gpu", lambda: True)
    # Tensors of inference mode cannot be wrapped.
    monkeypatch.setattr(torch.inference_mode, "__enter__", _no_gradients)
    monkeypatch.setattr(torch.inference_mode, "__exit__", _gradients_as_before)
    with _EveryCall():
        yield
