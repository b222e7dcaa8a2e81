"""Packed messages come out as they went in, and nonsense is refused with ValueError alone."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fedrec.deployment.packing import pack, pack_reply, unpack
from fedrec.simulation.nodes import set_identity

set_identity()
KIND = "fedrec.packed.1"
tables = st.dictionaries(
    st.text(max_size=20),
    arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), array_shapes(min_dims=0, min_side=0)
    ),
    max_size=6,
)


def question(content: RecordDict) -> Message:
    return Message(content, dst_node_id=5, message_type="train.pretrain", ttl=100, group_id="3")


@given(tables)
def test_there_and_back(given_arrays: dict[str, np.ndarray]) -> None:
    record = ArrayRecord({name: Array(array) for name, array in given_arrays.items()})
    content = RecordDict({"arrays": record, "config": ConfigRecord({"a": "b"}), "m": MetricRecord({"x": 1.0})})
    original = question(content)
    packed = pack(original, 7)
    assert original.content is not packed.content, "a question that is sent to many is not touched"
    assert len(packed.content.array_records["arrays"]) == 1
    assert (packed.metadata.ttl, packed.metadata.group_id, packed.metadata.dst_node_id) == (7, "3", 5)
    back = unpack(packed).content
    assert list(back.array_records["arrays"]) == list(record)
    for name, array in record.items():
        assert back.array_records["arrays"][name] == array
    assert (back["config"], back["m"]) == (content["config"], content["m"])


def test_a_reply_without_arrays_is_left_alone() -> None:
    reply = Message(RecordDict({"m": MetricRecord({"x": 1.0})}), reply_to=question(RecordDict()))
    assert unpack(pack_reply(reply)).content == RecordDict({"m": MetricRecord({"x": 1.0})})


def entry(name: object = "x", dtype: object = "float32", shape: object = (1,), length: object = 4) -> bytes:
    header = json.dumps([[name, dtype, shape, "numpy.ndarray", length]]).encode()
    return len(header).to_bytes(8, "big") + header


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        (3).to_bytes(8, "big") + b"[1]",
        (2).to_bytes(8, "big") + b"{]",
        entry(),
        entry(length=-4),
        entry(length=2**60) + b"1234",
        entry(shape=[-1]) + b"1234",
        entry(name=7) + b"1234",
        entry() + b"12345",
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    record = ArrayRecord({"packed": Array("uint8", (len(data),), KIND, data)})
    with pytest.raises((ValueError, TypeError)):
        unpack(question(RecordDict({"arrays": record})))
