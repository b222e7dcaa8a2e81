"""Markets' apps spread over workers that stay, each market always in one: what all engines of several processes share.

Markets are dealt out largest first to the worker with the least to do, and a worker answers its largest market first.
A worker that dies is named in the reply and replaced, or where it cannot be, its markets move to the others; one that
misses a deadline is ended and replaced. A market's time runs from the moment its worker takes up the question, as if
it had a host of its own: it does not answer for those before it in the queue.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Self, TypeVar

from flwr.app import Error, Message

from fedrec.errors import RunError
from fedrec.progress import OnReply, ignore
from fedrec.simulation.inline import LocalGrid
from fedrec.simulation.nodes import NodeConfig

WORKER_DIED = 2  # the process that computed is gone
_START_SECONDS = 300  # to import what the app needs
_LOOK_SECONDS = 5.0  # between two looks at whether one that is starting has a place


class LostError(Exception):
    """The worker is gone; says how it ended."""


class Worker(ABC):
    """A process somewhere that answers for its markets, one message at a time."""

    def __init__(self, node_configs: Mapping[int, NodeConfig]) -> None:
        self.node_configs = dict(node_configs)
        self.queue: deque[tuple[str, Message]] = deque()
        self.current: tuple[str, Message] | None = None
        self.ready = False  # has said so; before that it still imports
        self.since = 0.0  # when it was started, or took up the current message
        self.begin()

    @property
    def busy(self) -> bool:
        """Whether an answer is to be expected of it."""
        return self.current is not None or bool(self.queue)

    def begin(self) -> None:
        """Start it, with nothing to do yet."""
        self.ready, self.since = False, time.monotonic()
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Start the process; it says when it is ready."""

    @abstractmethod
    def end(self) -> None:
        """End the process, whatever it is doing. One that has ended is no error."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Ask. Raises :class:`LostError`."""

    @abstractmethod
    def receive(self) -> Message | None:
        """What a worker that spoke has said: an answer, or None that it is ready. Raises :class:`LostError`."""


AWorker = TypeVar("AWorker", bound=Worker)


class PoolGrid(LocalGrid, Generic[AWorker]):
    """Nodes spread over workers. Use as a context manager."""

    def __init__(self, node_configs: Sequence[NodeConfig], workers: int, on_reply: OnReply = ignore) -> None:
        super().__init__(node_configs, on_reply)
        hands = deal(self.node_configs, workers)
        self._workers = [self._worker({node: self.node_configs[node] for node in hand}) for hand in hands]
        self._worker_of = {node: worker for worker in self._workers for node in worker.node_configs}
        self._rank = {node: rank for hand in hands for rank, node in enumerate(hand)}

    @abstractmethod
    def _worker(self, node_configs: Mapping[int, NodeConfig]) -> AWorker:
        """A worker for these nodes."""

    @abstractmethod
    def _spoken(self, workers: Sequence[AWorker], seconds: float | None) -> Iterable[AWorker]:
        """Those that have spoken, or died, when the first of them did; nobody, if ``seconds`` pass before."""

    @abstractmethod
    def _close(self) -> None:
        """End everything."""

    def _room(self) -> int:
        """For how many workers there is room now."""
        return len(self._workers)

    def _has_no_place(self, worker: AWorker) -> bool:
        """Whether one that is starting waits for a place that will not come."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, wait, pull. A market that computes for more than ``timeout`` seconds is stopped and stays silent."""
        identifiers = list(self.push_messages(messages))
        while busy := [worker for worker in self._workers if worker.busy]:
            ends = [worker.since + limit for worker in busy if (limit := _limit(worker, timeout)) is not None]
            if not all(worker.ready for worker in busy):
                ends.append(time.monotonic() + _LOOK_SECONDS)
            for worker in self._spoken(busy, max(0.0, min(ends) - time.monotonic()) if ends else None):
                self._hear(worker)
            for worker in busy:
                if worker.busy and not worker.ready and len(self._workers) > 1 and self._has_no_place(worker):
                    worker.end()
                    self._give_away(worker)
                    continue
                limit = _limit(worker, timeout)
                if worker.busy and limit is not None and time.monotonic() - worker.since >= limit:
                    self._cut_off(worker)
        return self.pull_messages(identifiers)

    def _accept(self, messages: dict[str, Message]) -> None:
        largest_first = sorted(messages.items(), key=lambda entry: self._rank[entry[1].metadata.dst_node_id])
        for identifier, message in largest_first:
            self._worker_of[message.metadata.dst_node_id].queue.append((identifier, message))
        for worker in list(self._workers):
            self._feed(worker)

    def _hear(self, worker: AWorker) -> None:
        """Deal with a worker that spoke or died."""
        try:
            answer = worker.receive()
        except LostError as lost:
            self._died(worker, str(lost))
            return
        if answer is not None and worker.current is not None:
            (identifier, question), worker.current = worker.current, None
            self._deliver(identifier, question, answer)
        worker.ready = True
        self._feed(worker)

    def _feed(self, worker: AWorker) -> None:
        """Hand over the next message, if the worker is free for one."""
        if not worker.ready or worker.current is not None or not worker.queue:
            return
        worker.current, worker.since = worker.queue.popleft(), time.monotonic()
        try:
            worker.send(worker.current[1])
        except LostError as lost:
            self._died(worker, str(lost))

    def _died(self, worker: AWorker, how: str) -> None:
        """Answer for a worker that is gone, and replace it. One that never got ready fails all that wait for it."""
        lost = [worker.current] if worker.current is not None else list(worker.queue)
        if worker.current is None:
            worker.queue.clear()
        worker.current = None
        then = self._replace(worker)
        for identifier, question in lost:
            market = self.node_configs[question.metadata.dst_node_id].market
            reason = f"the worker process of market {market!r} died ({how}); {then}"
            self._deliver(identifier, question, Message(Error(WORKER_DIED, reason), reply_to=question))

    def _cut_off(self, worker: AWorker) -> None:
        """Stop a worker that takes too long; what it was computing stays unanswered."""
        if worker.current is None:
            self._died(worker, f"did not start in {_START_SECONDS} s")
            return
        worker.current = None
        self._replace(worker)

    def _replace(self, worker: AWorker) -> str:
        """Another process in its place, or where there is no room for one, none; says which."""
        worker.end()
        if self._room() >= len(self._workers):
            worker.begin()
            return "it was replaced"
        self._give_away(worker)
        return "its markets moved to others"

    def _give_away(self, worker: AWorker) -> None:
        """Its markets and what waits for them go to the other workers."""
        self._workers.remove(worker)
        if not self._workers:
            raise RunError("no worker is left, and there is no room for another; what is finished can be resumed")
        for node, config in worker.node_configs.items():
            heir = min(self._workers, key=lambda one: sum(had.interactions for had in one.node_configs.values()))
            heir.node_configs[node] = config
            self._worker_of[node] = heir
        for identifier, message in worker.queue:
            self._worker_of[message.metadata.dst_node_id].queue.append((identifier, message))
        worker.queue.clear()
        for heir in list(self._workers):
            self._feed(heir)


def deal(node_configs: Mapping[int, NodeConfig], workers: int) -> list[list[int]]:
    """Nodes of each of at most ``workers`` workers: largest first, each to the worker with the least so far."""
    hands: list[list[int]] = [[] for _ in range(min(workers, len(node_configs)))]
    loads = [0] * len(hands)
    for node in sorted(node_configs, key=lambda node: (-node_configs[node].interactions, node)):
        lightest = loads.index(min(loads))
        hands[lightest].append(node)
        loads[lightest] += node_configs[node].interactions
    return hands


def _limit(worker: Worker, timeout: float | None) -> float | None:
    """Seconds that a worker has for what it is doing: starting, or answering."""
    return timeout if worker.ready else _START_SECONDS
