"""Keeps arrays off Ray's wire: they are written once to the run folder, and messages carry the file's name.

Ray would pickle the shared model again for every market, and every market's reply once more. Both sides of this pair
see whole messages; a cluster needs a run folder that all its hosts share.
"""

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from fedrec.errors import RunError
from fedrec.exchange.payload import ARRAYS
from fedrec.files import write_atomic
from fedrec.server.relay import RelayGrid

_TICKET = "arrays-on-disk"
_FILE = "sha256"
_POLL_SECONDS = 0.02
_PLACING_SECONDS = 300.0  # for Ray to start actors


class OffWireGrid(RelayGrid):
    """The coordinator's end; ``on_reply`` hears of every node that answers."""

    def __init__(self, inner: Grid, folder: Path, on_reply: Callable[[Message], None]) -> None:
        super().__init__(inner)
        self.folder = folder
        self.stopped = threading.Event()  # set when nobody will answer any more
        self._on_reply = on_reply

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Store what is sent, fetch what is answered, then forget the files.

        ``timeout`` is left to the actors, which end themselves when a market takes longer: every message is answered,
        or its actor dies over it. Only where no actor can be placed any more, because the cluster lost a host, is there
        nobody to do so: with a ``timeout``, waiting ends when all markets one after the other had their time.
        """
        whole = list(messages)
        until = math.inf if timeout is None else time.monotonic() + _PLACING_SECONDS + timeout * len(whole)
        records = {id(record): record for record in (m.content.array_records.get(ARRAYS) for m in whole) if record}
        stored = {key: _store(record, self.folder) for key, record in records.items()}  # one goes to many markets
        sent = [_without_arrays(message, stored) for message in whole]
        waiting = set(self.inner.push_messages(sent))
        replies: list[Message] = []
        while waiting and time.monotonic() < until:
            if self.stopped.wait(_POLL_SECONDS):
                raise RunError("the engine has stopped; the markets' answers will not come")
            for reply in self.inner.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(self._received(reply))
        for path in self.folder.glob("*.safetensors"):
            path.unlink()
        return replies

    def _received(self, reply: Message) -> Message:
        self._on_reply(reply)
        if reply.has_content():
            _restore(reply, self.folder)
        return reply


def off_wire(app: Callable[[Message, Context], Message], folder: Path) -> Callable[[Message, Context], Message]:
    """The market's end: an app that finds its arrays on disk and leaves those of its reply there."""

    def answer(message: Message, context: Context) -> Message:
        _restore(message, folder)
        reply = app(message, context)
        if reply.has_content() and ARRAYS in reply.content.array_records:
            name = _store(reply.content.array_records[ARRAYS], folder)
            del reply.content[ARRAYS]
            reply.content[_TICKET] = ConfigRecord({_FILE: name})
        return reply

    return answer


def _store(record: ArrayRecord, folder: Path) -> str:
    data = save_arrays({name: array.numpy() for name, array in record.items()})
    name = hashlib.sha256(data).hexdigest()
    write_atomic(folder / f"{name}.safetensors", data)
    return name


def _without_arrays(message: Message, stored: dict[int, str]) -> Message:
    """A message to the same node with a ticket for the arrays; the original, whose bytes are counted, stays whole."""
    record = message.content.array_records.get(ARRAYS)
    if not record:
        return message
    content = RecordDict({name: part for name, part in message.content.items() if name != ARRAYS})
    content[_TICKET] = ConfigRecord({_FILE: stored[id(record)]})
    metadata = message.metadata
    return Message(content, metadata.dst_node_id, metadata.message_type, ttl=metadata.ttl, group_id=metadata.group_id)


def _restore(message: Message, folder: Path) -> None:
    if _TICKET not in message.content.config_records:
        return
    name = str(message.content.config_records[_TICKET][_FILE])
    data = (folder / f"{name}.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != name:
        raise RunError(f"arrays on disk differ from their hash {name[:12]}; is the run folder shared by all hosts?")
    del message.content[_TICKET]
    message.content[ARRAYS] = ArrayRecord({key: Array(value) for key, value in load_arrays(data).items()})
