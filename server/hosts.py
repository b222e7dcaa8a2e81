"""Markets on hosts of their own: Flower's Grid over HTTP, with our own waiting, and with names bound to node keys."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from queue import Empty, Queue

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedrec.deployment.packing import pack, unpack
from fedrec.errors import RunError
from server.relay import RelayGrid
from strategies.records import content_bytes

LARGEST_REPLY = 512 * 1024 * 1024  # bytes; a table of a million items of 128 numbers
REFUSED = 1003  # code of the error that stands for a reply that was not looked into
_GRACE_SECONDS = 5.0  # after the deadline, before a question is void: our own deadline is the one that counts
_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.1, 1.0  # between two looks; the longer a market trains, the rarer

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
        ttl = None if timeout is None else timeout + _GRACE_SECONDS
        identifiers = self.inner.push_messages([pack(message, ttl) for message in sent])
        asked = {identifier: question for identifier, question in zip(identifiers, sent, strict=True) if identifier}
        arrived: Queue[tuple[str, list[Message] | Exception]] = Queue()
        ended = threading.Event()
        for identifier in asked:
            threading.Thread(target=self._fetch, args=(identifier, arrived, ended), daemon=True).start()
        until = math.inf if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        try:
            while asked and (left := until - time.monotonic()) > 0:
                try:
                    identifier, fetched = arrived.get(timeout=min(left, _LONGEST_POLL_SECONDS))
                except Empty:
                    continue
                if isinstance(fetched, Exception):
                    raise fetched
                question = asked.pop(identifier)
                replies += [answer for reply in fetched if (answer := self._accepted(reply, question)) is not None]
        finally:
            ended.set()
        return replies

    def _fetch(
        self, identifier: str, arrived: "Queue[tuple[str, list[Message] | Exception]]", ended: threading.Event
    ) -> None:
        """Look for the reply to one question until it is there or nobody waits any more.

        In a thread of its own: a market that announces a reply and never sends its parts keeps nobody else waiting.
        """
        started = time.monotonic()
        try:
            while not ended.is_set():
                if found := list(self.inner.pull_messages([identifier])):
                    arrived.put((identifier, found))
                    return
                waited = time.monotonic() - started
                ended.wait(min(_LONGEST_POLL_SECONDS, _POLL_SECONDS + waited / 20))
        except Exception as error:
            arrived.put((identifier, error))

    def _accepted(self, reply: Message, question: Message) -> Message | None:
        """A reply from the node that was asked, or Flower's own word that there is none; nobody else's."""
        node = question.metadata.dst_node_id
        if reply.has_error() and reply.metadata.src_node_id != node:
            return Message(Error(reply.error.code, reply.error.reason or ""), reply_to=question)
        market = self._keys.owner_of(node) or ""
        if reply.metadata.src_node_id != node:
            reason = f"a reply to a question that node {node} was asked"
            self._on_event("refused", market=market, node=reply.metadata.src_node_id, reason=reason)
            return None
        self._on_event("answered", market=market, action=question.metadata.message_type)
        return self._opened(reply, question)

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
