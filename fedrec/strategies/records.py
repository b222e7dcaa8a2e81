"""Between Flower messages and our own payloads, at the server."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode

from fedrec.exchange.declaration import DECLARATIONS, Declaration
from fedrec.exchange.payload import (
    ARRAYS,
    CONFIG,
    OPENED,
    SCALARS,
    STATISTICS,
    TEXTS,
    Array,
    Origin,
    Payload,
    with_prefix,
)
from fedrec.flower_arrays import flower_array, numpy_of
from fedrec.words import cleaned

_LONGEST_ERROR = 300
_LONGEST_NAME = 200
_CODE = re.compile(r"[!-~ \n]*")  # of keys, signatures and shares
_GONE = {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE}


@dataclass(frozen=True)
class Answer:
    """One market's reply: a payload, or the reason there is none."""

    origin: Origin
    payload: Payload
    error: str | None
    bytes: int
    gone: bool = False  # the error is Flower's word that the node is not there, or its answer is lost


def array_record(arrays: Mapping[str, Array]) -> ArrayRecord:
    """Arrays as a Flower record."""
    return ArrayRecord({name: flower_array(array) for name, array in arrays.items()})


def instruction(
    node: int,
    action: str,
    server_round: int,
    config: ConfigRecord,
    arrays: ArrayRecord | None = None,
    texts: Mapping[str, list[str]] | None = None,
    opened: ArrayRecord | None = None,
) -> Message:
    """A message that tells one node to do ``action``; ``opened``: a masked sum that it is to go on from."""
    content = RecordDict({CONFIG: config})
    if texts is not None:
        content[TEXTS] = ConfigRecord(dict(texts))
    if arrays is not None:
        content[ARRAYS] = arrays
    if opened is not None:
        content[OPENED] = opened
    return Message(content, dst_node_id=node, message_type=action, group_id=str(server_round))


def content_bytes(message: Message) -> int:
    """Size of the arrays, scalars and texts a message carries, as Flower counts it.

    The configuration that goes with every instruction (the recipe, the run's name: some two kilobytes) is not counted.
    """
    if not message.has_content():
        return 0
    try:
        return sum(record.count_bytes() for name, record in message.content.items() if name != CONFIG)
    except (ValueError, LookupError, TypeError):  # Flower cannot count an empty text or list
        return 0


def read_answer(message: Message, market: str) -> Answer:
    """Decode a reply. Anything undecodable becomes an error, never an exception: replies are not trusted."""
    group = message.metadata.group_id
    origin = Origin(market, int(group) if group.isascii() and group.isdigit() else -1, message.metadata.message_type)
    size = content_bytes(message)
    if message.has_error():
        text = cleaned(f"error {message.error.code}: {message.error.reason}", _LONGEST_ERROR)
        return Answer(origin, Payload(), text, size, gone=message.error.code in _GONE)
    try:
        content = message.content
        arrays = {name: numpy_of(array) for record in content.array_records.values() for name, array in record.items()}
        payload = Payload(
            arrays={name: array for name, array in arrays.items() if not name.startswith(STATISTICS)},
            statistics=with_prefix(arrays, STATISTICS),
            scalars={
                name: float(value)  # type: ignore[arg-type]
                for name, value in content.metric_records.get(SCALARS, {}).items()
            },
            texts={name: _text(value, origin.action) for name, value in content.config_records.get(TEXTS, {}).items()},
        )
        _check_names([*payload.sent, *payload.scalars, *payload.texts])
    except ValueError as error:
        return Answer(origin, Payload(), f"undecodable reply ({error})", size)
    except Exception as error:
        return Answer(origin, Payload(), f"undecodable reply ({type(error).__name__})", size)
    return Answer(origin, payload, None, size)


def read_answers(replies: Iterable[Message], market_of: Mapping[int, str]) -> list[Answer]:
    """Decode replies of known nodes, sorted by market, so that nothing depends on who was first."""
    answers = [
        read_answer(reply, market_of[reply.metadata.src_node_id])
        for reply in replies
        if reply.metadata.src_node_id in market_of
    ]
    return sorted(answers, key=lambda answer: answer.origin.market)


def _check_names(names: Iterable[str]) -> None:
    if any(len(name) > _LONGEST_NAME or not name.isprintable() for name in names):
        raise ValueError("a name too long or not printable")


def _text(value: object, action: str) -> str | list[str]:
    """A market's words, fit for a file, a log and a terminal; of lists, only that they are lists of texts."""
    if isinstance(value, str):
        declared = DECLARATIONS.get(action, Declaration(longest=0))
        if len(value) > declared.longest:
            raise ValueError(f"a text of {len(value)} characters where at most {declared.longest} are taken")
        if not declared.exact:
            return cleaned(value, declared.longest)
        if not _CODE.fullmatch(value):
            raise ValueError("a text that is no code")
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value
    raise TypeError
