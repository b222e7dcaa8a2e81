"""Engine ``inline`` with ``engine.workers``: the markets' apps in processes of their own, each market always in one.

Markets are dealt out largest first to the process with the least to do, and a process answers its largest market
first. Messages travel in Flower's own wire format. A process that dies is named in the reply and replaced; one that
misses a deadline is stopped and replaced. A market's time runs from the moment its process takes up the question, as
if it had a host of its own: it does not answer for those before it in the queue.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from flwr.app import Error, Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from fedrec.processes import end_with_parent
from fedrec.progress import OnReply, ignore
from fedrec.simulation.inline import CLIENT_RAISED, LocalGrid
from fedrec.simulation.nodes import HONEST_APP, NodeConfig, load_app, set_identity

WORKER_DIED = 2  # the process that computed is gone
_SPAWN = multiprocessing.get_context("spawn")  # a forked torch may hang
_STOP_SECONDS = 5
_START_SECONDS = 300  # to import what the app needs
_LAST_WORDS_SECONDS = 10  # for a process that is ending to say with which code
_READY = b"ready"


def encode(message: Message) -> bytes:
    """A message as Flower sends it over a network."""
    return bytes(message_to_proto(message).SerializeToString())


def decode(data: bytes) -> Message:
    """The way back."""
    return message_from_proto(ProtoMessage.FromString(data))


def deal(node_configs: Mapping[int, NodeConfig], workers: int) -> list[list[int]]:
    """Nodes of each of at most ``workers`` processes: largest first, each to the process with the least so far."""
    hands: list[list[int]] = [[] for _ in range(min(workers, len(node_configs)))]
    loads = [0] * len(hands)
    for node in sorted(node_configs, key=lambda node: (-node_configs[node].interactions, node)):
        lightest = loads.index(min(loads))
        hands[lightest].append(node)
        loads[lightest] += node_configs[node].interactions
    return hands


@dataclass
class _Worker:
    """One process, what it is computing, and what waits for it."""

    node_configs: dict[int, NodeConfig]
    app: str
    queue: deque[tuple[str, Message]] = field(default_factory=deque)
    current: tuple[str, Message] | None = None
    ready: bool = False  # has said so; before that it still imports
    since: float = 0.0  # when it was started, or took up the current message

    def __post_init__(self) -> None:
        self.start()

    @property
    def busy(self) -> bool:
        """Whether an answer is to be expected of it."""
        return self.current is not None or bool(self.queue)

    def start(self) -> None:
        """Start the process."""
        self.connection, theirs = _SPAWN.Pipe()
        self.process: BaseProcess = _SPAWN.Process(
            target=_serve, args=(theirs, os.getpid(), self.node_configs, self.app), name="fedrec-worker", daemon=True
        )
        self.process.start()
        theirs.close()
        self.ready, self.since = False, time.monotonic()

    def restart(self) -> int | None:
        """Another process in its place, whatever it was doing; returns how the old one ended."""
        self.connection.close()
        self.process.join(_LAST_WORDS_SECONDS)
        code = self.process.exitcode
        self.process.kill()
        self.process.join()
        self.start()
        return code


class WorkerGrid(LocalGrid):
    """Nodes spread over processes. ``app`` names the markets' app as ``module:attribute``. Use as a context manager."""

    def __init__(
        self,
        node_configs: Sequence[NodeConfig],
        workers: int,
        on_reply: OnReply = ignore,
        app: str = HONEST_APP,
    ) -> None:
        super().__init__(node_configs, on_reply)
        hands = deal(self.node_configs, workers)
        self._workers = [_Worker({node: self.node_configs[node] for node in hand}, app) for hand in hands]
        self._worker_of = {node: worker for worker in self._workers for node in worker.node_configs}
        self._rank = {node: rank for worker in self._workers for rank, node in enumerate(worker.node_configs)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()  # an idle process ends by itself when its pipe does
        until = time.monotonic() + _STOP_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, wait, pull. A market that computes for more than ``timeout`` seconds is stopped and stays silent."""
        identifiers = list(self.push_messages(messages))
        while busy := [worker for worker in self._workers if worker.busy]:
            ends = [worker.since + limit for worker in busy if (limit := _limit(worker, timeout)) is not None]
            self._collect(busy, max(0.0, min(ends) - time.monotonic()) if ends else None)
            for worker in busy:
                limit = _limit(worker, timeout)
                if worker.busy and limit is not None and time.monotonic() - worker.since >= limit:
                    self._cut_off(worker)
        return self.pull_messages(identifiers)

    def _accept(self, messages: dict[str, Message]) -> None:
        largest_first = sorted(messages.items(), key=lambda entry: self._rank[entry[1].metadata.dst_node_id])
        for identifier, message in largest_first:
            self._worker_of[message.metadata.dst_node_id].queue.append((identifier, message))
        for worker in self._workers:
            self._feed(worker)

    def _collect(self, busy: Sequence[_Worker], seconds: float | None) -> None:
        """Wait for any process to speak or die, and deal with those that did."""
        by_connection = {worker.connection: worker for worker in busy}
        for connection in wait(list(by_connection), seconds):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                data = worker.connection.recv_bytes()
            except (EOFError, OSError):
                self._died(worker)
                continue
            if worker.ready and worker.current is not None:
                identifier, question = worker.current
                worker.current = None
                self._deliver(identifier, question, decode(data))
            worker.ready = True
            self._feed(worker)

    def _feed(self, worker: _Worker) -> None:
        """Hand over the next message, if the process is free for one."""
        if not worker.ready or worker.current is not None or not worker.queue:
            return
        worker.current, worker.since = worker.queue.popleft(), time.monotonic()
        try:
            worker.connection.send_bytes(encode(worker.current[1]))
        except OSError:
            self._died(worker)

    def _died(self, worker: _Worker) -> None:
        """Answer for a process that is gone, and replace it. One that never got ready fails all that wait for it."""
        lost = [worker.current] if worker.current is not None else list(worker.queue)
        if worker.current is None:
            worker.queue.clear()
        worker.current = None
        code = worker.restart()
        for identifier, question in lost:
            market = self.node_configs[question.metadata.dst_node_id].market
            reason = f"the worker process of market {market!r} died (exit code {code}); it was replaced"
            self._deliver(identifier, question, Message(Error(WORKER_DIED, reason), reply_to=question))

    def _cut_off(self, worker: _Worker) -> None:
        """Stop a process that takes too long; what it was computing stays unanswered."""
        if worker.current is None:
            self._died(worker)
            return
        worker.current = None
        worker.process.kill()
        worker.restart()


def _limit(worker: _Worker, timeout: float | None) -> float | None:
    """Seconds that a process has for what it is doing: starting, or answering."""
    return timeout if worker.ready else _START_SECONDS


def _serve(connection: Connection, parent: int, node_configs: Mapping[int, NodeConfig], app: str) -> None:
    """What a worker process does: answer messages one by one until the pipe closes, or the parent is gone."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    set_identity()
    client_app = load_app(app)
    with suppress(OSError):  # the parent may be gone by now; then the pipe is closed, and the next line says so
        connection.send_bytes(_READY)
    contexts = {node: node_config.context(node) for node, node_config in node_configs.items()}
    while True:
        try:
            message = decode(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            reply = client_app(message, contexts[message.metadata.dst_node_id])
        except Exception as error:
            reply = Message(Error(CLIENT_RAISED, type(error).__name__), reply_to=message)
        try:
            connection.send_bytes(encode(reply))
        except BrokenPipeError:
            return
