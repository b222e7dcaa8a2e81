"""All arrays of a message as one, on the wire of a deployment.

Flower sends every array as objects of their own, each a request of its own at every hop: forty parameters cost some
four hundred requests a market and round. Packed, a message is half a dozen objects whatever the model.
"""

import json
from collections.abc import Callable

from flwr.app import Array, ArrayRecord, Message, RecordDict

_NAME = "packed"
_KIND = "fedrec.packed.1"  # stands where Flower says how an array is serialised
_LENGTH_BYTES = 8


def pack(message: Message, ttl: float | None = None) -> Message:
    """A copy of a question, each of its array records turned into one array; it lives ``ttl`` seconds at most."""
    metadata = message.metadata
    return Message(
        _changed(message.content, _packed),
        metadata.dst_node_id,
        metadata.message_type,
        ttl=metadata.ttl if ttl is None else ttl,
        group_id=metadata.group_id,
    )


def pack_reply(reply: Message) -> Message:
    """A reply, in place, with each of its array records turned into one array."""
    if reply.has_content():
        reply.content = _changed(reply.content, _packed)
    return reply


def unpack(message: Message) -> Message:
    """The way back, in place; raises :class:`ValueError` for what was packed by nobody in their senses."""
    if message.has_content():
        message.content = _changed(message.content, _unpacked)
    return message


def _changed(content: RecordDict, change: Callable[[ArrayRecord], ArrayRecord]) -> RecordDict:
    changed = RecordDict(dict(content.items()))
    for name, record in content.array_records.items():
        changed[name] = change(record)
    return changed


def _packed(record: ArrayRecord) -> ArrayRecord:
    header = json.dumps([[name, a.dtype, list(a.shape), a.stype, len(a.data)] for name, a in record.items()]).encode()
    data = b"".join([len(header).to_bytes(_LENGTH_BYTES, "big"), header, *(array.data for array in record.values())])
    return ArrayRecord({_NAME: Array("uint8", (len(data),), _KIND, data)})


def _unpacked(record: ArrayRecord) -> ArrayRecord:
    array = record.get(_NAME)
    if array is None or array.stype != _KIND:
        return record  # an older or another market; what it holds is checked elsewhere
    start = _LENGTH_BYTES + int.from_bytes(array.data[:_LENGTH_BYTES], "big")
    header = json.loads(array.data[_LENGTH_BYTES:start])
    arrays = {}
    for name, dtype, shape, kind, length in header:
        if not _sound(name, dtype, shape, kind, length):
            raise ValueError("a packed array that says nonsense of itself")
        arrays[name] = Array(dtype, tuple(shape), kind, array.data[start : start + length])
        start += length
    if start != len(array.data):
        raise ValueError(f"packed arrays end at byte {start} of {len(array.data)}")
    return ArrayRecord(arrays)


def _sound(name: object, dtype: object, shape: object, kind: object, length: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(dtype, str)
        and isinstance(kind, str)
        and isinstance(shape, list)
        and all(isinstance(size, int) and size >= 0 for size in shape)
        and isinstance(length, int)
        and length >= 0
    )
