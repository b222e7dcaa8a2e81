"""Markets on hosts of their own: Flower's Grid over HTTP, with our own waiting, and with names bound to node keys."""

import json
import time
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedrec.deployment.packing import pack, unpack
from fedrec.errors import RunError
from server.relay import RelayGrid
from strategies.records import content_bytes

LARGEST_REPLY = 512 * 1024 * 1024  # bytes; a table of a million items of 128 numbers
REFUSED = 1003  # code of the error that stands for a reply that was not looked into
_POLL_SECONDS = 0.2

OnEvent = Callable[..., None]  # kind, then fields


class HostGrid(RelayGrid):
    """Waits in short steps until the deadline; takes one reply a question, from the node that was asked.

    Flower's own waiting looks every three seconds, and believes the sender that a reply names. Replies that come after
    the deadline are never fetched, so they can be counted in no later round.
    """

    def __init__(self, inner: Grid, keys: "NodeKeys", on_event: OnEvent) -> None:
        super().__init__(inner)
        self._keys = keys
        self._on_event = on_event

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, wait, pull. What is told after ``timeout`` seconds is not waited for, on either side."""
        sent = list(messages)
        if not sent:
            return []
        asked = dict(zip(self.inner.push_messages([pack(message, timeout) for message in sent]), sent, strict=True))
        waiting = {identifier for identifier in asked if identifier}
        until = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while waiting:
            for reply in self.inner.pull_messages(sorted(waiting)):
                question = asked.get(reply.metadata.reply_to_message_id)
                if question is not None and question.metadata.dst_node_id == reply.metadata.src_node_id:
                    replies.append(self._opened(reply, question))
                    owner = self._keys.owner_of(question.metadata.dst_node_id)
                    self._on_event("answered", market=owner or "?", action=question.metadata.message_type)
                    waiting.discard(reply.metadata.reply_to_message_id)
                elif question is not None and reply.has_error():  # Flower's own word that there is no answer
                    replies.append(Message(Error(reply.error.code, reply.error.reason or ""), reply_to=question))
                    waiting.discard(reply.metadata.reply_to_message_id)
                else:
                    reason = "a reply to another's question"
                    self._on_event("refused", market="", node=reply.metadata.src_node_id, reason=reason)
            if not waiting or (until is not None and time.monotonic() >= until):
                break
            time.sleep(_POLL_SECONDS)
        return replies

    def _opened(self, reply: Message, question: Message) -> Message:
        """The reply unpacked, or an error in its place."""
        size = content_bytes(reply)
        if size > LARGEST_REPLY:
            return Message(Error(REFUSED, f"reply of {size} bytes, {LARGEST_REPLY} at most"), reply_to=question)
        try:
            return unpack(reply)
        except (ValueError, TypeError) as error:
            return Message(Error(REFUSED, f"undecodable reply ({type(error).__name__})"), reply_to=question)


class NodeKeys:
    """Who may speak for which market: the node that proved the market's own key, nobody else."""

    def __init__(self, grid: Grid, key_of: Mapping[str, str]) -> None:  # keys in PEM, by market
        self._grid = grid
        self._market_of = {key.strip(): market for market, key in key_of.items()}
        self._owners: dict[int, str] = {}  # a node keeps its number as long as it keeps its key

    def owner_of(self, node: int) -> str | None:
        """The market whose key ``node`` proved to the SuperLink; None where it is that of no market of this run."""
        if node not in self._owners:
            keys = {info.node_id: info.public_key.decode(errors="replace").strip() for info in self._grid.get_nodes()}
            self._owners |= {n: self._market_of[key] for n, key in keys.items() if key in self._market_of}
        return self._owners.get(node)


def read_keys(text: str) -> dict[str, str]:
    """Public keys by market, as the run configuration carries them."""
    keys = json.loads(text)
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise RunError("the run configuration's keys are not texts by market")
    return keys
