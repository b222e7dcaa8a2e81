"""Reading Flower's arrays faster than Flower, and no differently."""

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedrec.flower_arrays import flower_array, numpy_of


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["float32", "float64", "int64", "uint8", "uint32", "bool", "float16"]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    st.booleans(),
)
def test_the_same_as_flower_reads(array, fortran):
    packed = Array(np.array(array, order="F" if fortran else "C"))
    found, expected = numpy_of(packed), packed.numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert found.flags.writeable
    whole = flower_array(np.array(array, order="F" if fortran else "C"))
    plain = Array(np.ascontiguousarray(array).reshape(array.shape))
    assert (whole.dtype, tuple(whole.shape), whole.stype, whole.data) == (
        plain.dtype,
        tuple(plain.shape),
        plain.stype,
        plain.data,
    )


def outcome(read):
    """What a reader returns or raises."""
    try:
        found = read()
    except Exception as error:
        return type(error).__name__
    return found.dtype, found.shape, found.tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.binary(min_size=0, max_size=4), st.integers(0, 160))
def test_damaged_bytes_are_what_flower_makes_of_them(place, other, kept):
    """Never a wrong array where Flower raises, nor the other way round."""
    whole = Array(np.arange(6, dtype=np.float32).reshape(2, 3))
    data = bytearray(whole.data)
    data[place : place + len(other)] = other
    damaged = Array(dtype=whole.dtype, shape=whole.shape, stype=whole.stype, data=bytes(data[:kept]))
    assert outcome(lambda: numpy_of(damaged)) == outcome(damaged.numpy)


def test_another_serialisation_and_pickled_objects_are_refused():
    with pytest.raises(TypeError):
        numpy_of(Array(dtype="float32", shape=(1,), stype="pickle", data=b"x"))
    objects = np.array([{"a": 1}], dtype=object)
    import io

    stream = io.BytesIO()
    np.save(stream, objects, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        numpy_of(Array(dtype="object", shape=(1,), stype="numpy.ndarray", data=stream.getvalue()))
