"""Markets on hosts of their own: Flower's Grid over HTTP, with our own waiting, and with names bound to node keys."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from queue import Empty, Queue

import httpx
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import RunNotRunningException

from fedrec.deployment.error_codes import REFUSED, WORKER_DIED
from fedrec.deployment.packing import pack, unpack
from fedrec.errors import RunError
from fedrec.server.relay import RelayGrid
from fedrec.strategies.records import content_bytes

LARGEST_REPLY = 512 * 1024 * 1024  # bytes; a table of a million items of 128 numbers
_GRACE_SECONDS = 5.0  # after the deadline, before a question is void: our own deadline is the one that counts
_LOST = {ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED, WORKER_DIED}
_RETURN_SECONDS = 45.0  # that a node which is gone has to come back: it is missed after 20 s, and started again
_MAX_RETURNS = 3  # in one exchange
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
        self._pushing = threading.Lock()
        self._given_up: set[int] = set()  # nodes that were gone and did not come back

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, wait, pull. What is told after ``timeout`` seconds is not waited for, on either side."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        exchange = _Exchange(until, Queue(), threading.Event())
        waiting = self._push(list(messages), until)
        for identifier, question in waiting.items():
            arguments = (identifier, question, exchange)
            threading.Thread(target=self._fetch, args=arguments, daemon=True).start()
        left = len(waiting)
        replies: list[Message] = []
        try:
            while left and (seconds := until - time.monotonic()) > 0:
                try:
                    found = exchange.arrived.get(timeout=min(seconds, _LONGEST_POLL_SECONDS))
                except Empty:
                    continue
                if isinstance(found, BaseException):
                    raise found
                left -= 1
                replies += found
        finally:
            exchange.ended.set()
        return replies

    def _push(self, questions: list[Message], until: float) -> dict[str, Message]:
        """Send; by identifier what the SuperLink took."""
        if not questions:
            return {}
        ttl = None if until == math.inf else max(until - time.monotonic(), 0.0) + _GRACE_SECONDS
        with self._pushing:
            identifiers = list(self.inner.push_messages([pack(question, ttl) for question in questions]))
        return {one: question for one, question in zip(identifiers, questions, strict=True) if one}

    def _fetch(self, identifier: str, question: Message, exchange: "_Exchange") -> None:
        """Look for the reply to one question until it is there or nobody waits any more.

        In a thread of its own: a market that announces a reply and never sends its parts keeps nobody else waiting.
        What cannot be made sense of is that market's error; only what the SuperLink itself says ends the waiting of
        all.
        """
        started, returns = time.monotonic(), 0
        node = question.metadata.dst_node_id
        while not exchange.ended.is_set():
            try:
                found = list(self.inner.pull_messages([identifier]))
                if found and _is_lost(found[0]) and returns < _MAX_RETURNS and self._is_back(node, exchange):
                    returns += 1
                    if again := list(self._push([question], exchange.until)):
                        (identifier,) = again
                        continue
                if found:
                    exchange.arrived.put([one for reply in found if (one := self._accepted(reply, question))])
                    return
            except (httpx.HTTPError, ConnectionError, RunNotRunningException) as error:
                exchange.arrived.put(error)
                return
            except Exception as error:  # of what the market sent: its parts are validated here for the first time
                exchange.arrived.put([_refusal(question, f"undecodable reply ({type(error).__name__})")])
                return
            waited = time.monotonic() - started
            exchange.ended.wait(min(_LONGEST_POLL_SECONDS, _POLL_SECONDS + waited / 20))

    def _is_back(self, node: int, exchange: "_Exchange") -> bool:
        """Give a node that is gone a while to come back, once; then its market is left out until it answers again."""
        patience = min(time.monotonic() + _RETURN_SECONDS, exchange.until)
        while node not in self._given_up and not exchange.ended.wait(_LONGEST_POLL_SECONDS):
            if node in set(self.inner.get_node_ids()):
                return True
            if time.monotonic() > patience:
                self._given_up.add(node)
        return False

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
        self._given_up.discard(node)
        self._on_event("answered", market=market, action=question.metadata.message_type)
        size = content_bytes(reply)
        return unpack(reply) if size <= LARGEST_REPLY else _refusal(question, f"{size} bytes, {LARGEST_REPLY} at most")


@dataclass(frozen=True)
class _Exchange:
    """One sending and receiving: until when, what came, and whether anybody waits any more."""

    until: float
    arrived: "Queue[list[Message] | BaseException]"  # Flower's word that the run was stopped is no Exception
    ended: threading.Event


def _is_lost(reply: Message) -> bool:
    """Whether the question got no answer because a process was gone: it is asked again."""
    return reply.has_error() and reply.error.code in _LOST


def _refusal(question: Message, reason: str) -> Message:
    return Message(Error(REFUSED, reason), reply_to=question)


class NodeKeys:
    """Who may speak for which market: the node that proved the market's own key, nobody else."""

    def __init__(self, grid: Grid, key_of: Mapping[str, str]) -> None:  # keys in PEM, by market
        self._grid = grid
        self._market_of = {key.strip(): market for market, key in key_of.items()}
        self._owners: dict[int, str | None] = {}  # a node keeps its number as long as it keeps its key

    def owner_of(self, node: int) -> str | None:
        """The market whose key ``node`` proved to the SuperLink; None where it is that of no market of this run."""
        if node not in self._owners:
            keys = {info.node_id: info.public_key.decode(errors="replace").strip() for info in self._grid.get_nodes()}
            self._owners |= {number: self._market_of.get(key) for number, key in keys.items()}
        return self._owners.get(node)


def read_keys(text: str) -> dict[str, str]:
    """Public keys by market, as the run configuration carries them."""
    keys = json.loads(text)
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise RunError("the run configuration's keys are not texts by market")
    return keys
