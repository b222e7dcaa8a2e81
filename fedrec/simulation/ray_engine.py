"""Engine ``ray``: the markets' apps in Ray actors, on this machine or on a cluster.

Actors stay for the whole run, each with markets of its own, so that what these have prepared stays in its memory. What
goes to many markets at once travels once, through Ray's object store. Every host of a cluster must have the data and
the run's folder where they are here.
"""

import gc
import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
import ray
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from numpy.typing import NDArray
from ray.exceptions import RayError

from fedrec.errors import UserError
from fedrec.exchange.payload import ARRAYS
from fedrec.progress import OnReply, ignore
from fedrec.recipe.settings import RaySettings
from fedrec.simulation.inline import answer
from fedrec.simulation.nodes import HONEST_APP, NodeConfig, load_app, set_identity
from fedrec.simulation.pool import LostError, PoolGrid, Worker
from fedrec.simulation.workers import decode, encode

_PLACE_SECONDS = 60.0  # that an actor waits for a place while others have theirs
Packed = list[tuple[str, str, tuple[int, ...], str, NDArray[np.uint8]]]  # name, dtype, shape, serialisation, bytes


class RayWorker(Worker):
    """An actor, somewhere on the cluster."""

    def __init__(self, node_configs: Mapping[int, NodeConfig], grid: "RayGrid") -> None:
        self._grid = grid
        super().__init__(node_configs)

    def start(self) -> None:
        """Ask for an actor; Ray starts it where there is room."""
        options = self._grid.options
        actor: Any = ray.remote(_Actor).options(num_cpus=options.cpus, num_gpus=options.gpus, max_restarts=0)
        self._actor = actor.remote(self._grid.app)
        self.future: Any = self._actor.ready.remote()

    def end(self) -> None:
        """Kill it."""
        ray.kill(self._actor)

    def send(self, message: Message) -> None:
        """Call it, with a reference to the arrays of the message."""
        rest, key, arrays = self._grid.broadcast(message)
        node = message.metadata.dst_node_id
        self.future = self._actor.answer.remote(encode(rest), key, arrays, node, self.node_configs[node])

    def receive(self) -> Message | None:
        """What the call has returned."""
        try:
            data = ray.get(self.future)
        except RayError as error:  # it died, was killed for memory, or cannot say what it has to say
            raise LostError(" ".join(str(error).split())[:200]) from None
        return None if data is None else decode(data)


class RayGrid(PoolGrid[RayWorker]):
    """Nodes spread over actors. ``app``: the markets' app, or its name as ``module:attribute``."""

    def __init__(
        self,
        node_configs: Sequence[NodeConfig],
        options: RaySettings,
        on_reply: OnReply = ignore,
        app: Any = HONEST_APP,
    ) -> None:
        self.options = options
        self.app = app
        self._last: tuple[ArrayRecord, str, Any] | None = None  # what went out last, its number, and where it lies
        self._broadcasts = 0
        self._own = not ray.is_initialized()
        self._quiet = ExitStack()
        self._quiet.enter_context(_quiet())
        try:
            _connect(options)
            room = self._room()
            if not room:
                raise UserError(
                    f"ray.cpus {options.cpus:g}, ray.gpus {options.gpus:g}: no host of the cluster can hold one "
                    "client; ask for less"
                )
            super().__init__(node_configs, room, on_reply)
        except BaseException:
            self._shut_down()
            raise

    def broadcast(self, message: Message) -> tuple[Message, str, Any]:
        """A message without its arrays, their number, and where they lie: once for all messages that share them."""
        record = message.content.array_records.get(ARRAYS)
        if not record:
            return message, "", None
        if self._last is None or self._last[0] is not record:
            self._broadcasts += 1
            self._last = (record, str(self._broadcasts), ray.put(_pack(record)))
        content = RecordDict({name: part for name, part in message.content.items() if name != ARRAYS})
        metadata = message.metadata
        rest = Message(
            content, metadata.dst_node_id, metadata.message_type, ttl=metadata.ttl, group_id=metadata.group_id
        )
        rest.metadata.__dict__["_message_id"] = metadata.message_id
        return rest, *self._last[1:]

    def _worker(self, node_configs: Mapping[int, NodeConfig]) -> RayWorker:
        return RayWorker(node_configs, self)

    def _spoken(self, workers: Sequence[RayWorker], seconds: float | None) -> Iterable[RayWorker]:
        by_future = {worker.future: worker for worker in workers}
        spoken, _ = ray.wait(list(by_future), num_returns=1, timeout=seconds)
        more, _ = ray.wait(list(by_future), num_returns=len(by_future), timeout=0)
        return [by_future[future] for future in {*spoken, *more}]

    def _room(self) -> int:
        found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return sum(places(host["Resources"], self.options) for host in found if host["Alive"])

    def _has_no_place(self, worker: RayWorker) -> bool:
        """Its host may be lost, or others hold what it asks for."""
        waited = time.monotonic() - worker.since > _PLACE_SECONDS and any(one.ready for one in self._workers)
        return waited or self._room() < len(self._workers)

    def _close(self) -> None:
        for worker in self._workers:
            with suppress(RayError):  # the cluster may be gone
                worker.end()
        self._shut_down()

    def _shut_down(self) -> None:
        with self._quiet:
            if self._own:
                ray.shutdown()
                gc.collect()  # what Ray started and opened warns when it goes


def places(resources: Mapping[str, float], options: RaySettings) -> int:
    """How many actors a host of such resources holds. Several share a card, but none is on two halves of two cards."""
    result = int(resources.get("CPU", 0) / options.cpus)
    cards, asked = resources.get("GPU", 0), options.gpus
    if asked >= 1:
        result = min(result, int(cards / asked))
    elif asked:
        result = min(result, int(cards) * int(1 / asked))
    return result


class _Actor:
    """What runs in the actor's process."""

    def __init__(self, app: Any) -> None:
        set_identity()
        self._app = load_app(app) if isinstance(app, str) else app
        self._contexts: dict[int, Context] = {}
        self._arrays = ("", ArrayRecord())  # of the last broadcast: its markets share them

    def ready(self) -> None:
        """It is when this returns."""

    def answer(self, data: bytes, key: str, arrays: Packed | None, node: int, config: NodeConfig) -> bytes:
        """What one market says to one message."""
        message = decode(data)
        if arrays is not None:
            if self._arrays[0] != key:
                self._arrays = (key, _unpack(arrays))
            message.content[ARRAYS] = self._arrays[1]
        self._contexts.setdefault(node, config.context(node))
        return encode(answer(self._app, message, self._contexts))


def _pack(record: ArrayRecord) -> Packed:
    """As Ray's object store hands out without a copy."""
    return [
        (name, array.dtype, tuple(array.shape), array.stype, np.frombuffer(array.data, np.uint8))
        for name, array in record.items()
    ]


def _unpack(packed: Packed) -> ArrayRecord:
    return ArrayRecord({name: Array(dtype, shape, stype, data.tobytes()) for name, dtype, shape, stype, data in packed})


def _connect(options: RaySettings) -> None:
    """Start Ray here or join a cluster; where this process has it already, that one is taken."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # its default, 15, leaves the actors last in every queue
    if ray.is_initialized():
        return
    here: dict[str, Any] = {"address": "local", "include_dashboard": False}
    try:
        ray.init(
            log_to_driver=False,
            configure_logging=False,
            **(here if options.address is None else {"address": options.address}),
        )
    except ConnectionError as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"ray.address {options.address!r}: no Ray cluster found there ({text:.100}); start one"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray's own logs say nothing that our events do not."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
