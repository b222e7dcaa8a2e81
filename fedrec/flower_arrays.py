"""Arrays into Flower's messages and out of them.

Of many small ones most time goes into writing and reading their headers, and these repeat.
"""

import io
import math
from functools import lru_cache

import numpy as np
from flwr.app import Array as FlowerArray
from numpy.lib import format as npy

from fedrec.exchange.payload import Array

_DIMENSIONS = 30  # of more, a header may need another version of the format
_MAGIC = npy.magic(1, 0)
_START = len(_MAGIC) + 2  # of the header; two bytes say how long it is


def numpy_of(array: FlowerArray) -> Array:
    """What :meth:`flwr.app.Array.numpy` returns, and what it raises for what is no array."""
    data = array.data
    end = _START + int.from_bytes(data[_START - 2 : _START], "little")
    if array.stype != "numpy.ndarray" or not data.startswith(_MAGIC) or len(data) < end:
        return array.numpy()
    shape, fortran, dtype = _header(data[_START - 2 : end])
    if dtype.hasobject or fortran or len(data) - end != dtype.itemsize * math.prod(shape):
        return array.numpy()
    return np.frombuffer(data, dtype, offset=end).reshape(shape).copy()


def flower_array(array: Array) -> FlowerArray:
    """What ``flwr.app.Array(array)`` makes of it."""
    shape, dtype = array.shape, array.dtype
    if dtype.hasobject or dtype.names or len(shape) > _DIMENSIONS:
        return FlowerArray(array)
    name, start = _written(shape, dtype)
    return FlowerArray(
        dtype=name, shape=shape, stype="numpy.ndarray", data=start + array.tobytes()
    )  # in the order of C


@lru_cache(maxsize=512)
def _written(shape: tuple[int, ...], dtype: np.dtype) -> tuple[str, bytes]:
    """The name of a type, and what stands before the numbers."""
    stream = io.BytesIO()
    described = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, described)
    return str(dtype), stream.getvalue()


@lru_cache(maxsize=512)
def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    found: tuple[tuple[int, ...], bool, np.dtype] = npy.read_array_header_1_0(io.BytesIO(data))
    return found
