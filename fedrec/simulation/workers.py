"""Engine ``inline`` with ``engine.workers``: the markets' apps in processes of their own.

Messages travel through pipes, in Flower's own wire format.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from flwr.app import Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from fedrec.processes import end_with_parent
from fedrec.progress import OnReply, ignore
from fedrec.simulation.inline import answer
from fedrec.simulation.nodes import HONEST_APP, NodeConfig, load_app, set_identity
from fedrec.simulation.pool import LostError, PoolGrid, Worker

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch may hang
_STOP_SECONDS = 5
_LAST_WORDS_SECONDS = 10  # for a process that is ending to say with which code
_READY = b"ready"


def encode(message: Message) -> bytes:
    """A message as Flower sends it over a network."""
    return bytes(message_to_proto(message).SerializeToString())


def decode(data: bytes) -> Message:
    """The way back."""
    return message_from_proto(ProtoMessage.FromString(data))


class WorkerProcess(Worker):
    """A process at the other end of a pipe."""

    process: BaseProcess
    connection: Connection

    def __init__(self, node_configs: Mapping[int, NodeConfig], app: str) -> None:
        self.app = app
        super().__init__(node_configs)

    def start(self) -> None:
        """Spawn it; it ends with this process."""
        self.connection, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(
            target=_serve, args=(theirs, os.getpid(), self.node_configs, self.app), name="fedrec-worker", daemon=True
        )
        self.process.start()
        theirs.close()

    def end(self) -> None:
        """Kill it."""
        self.connection.close()
        self.process.kill()
        self.process.join()

    def send(self, message: Message) -> None:
        """Through the pipe."""
        try:
            self.connection.send_bytes(encode(message))
        except OSError:
            raise self._lost() from None

    def receive(self) -> Message | None:
        """From the pipe."""
        try:
            data = self.connection.recv_bytes()
        except (EOFError, OSError):
            raise self._lost() from None
        return None if data == _READY else decode(data)

    def _lost(self) -> LostError:
        self.process.join(_LAST_WORDS_SECONDS)
        return LostError(f"exit code {self.process.exitcode}")


class WorkerGrid(PoolGrid[WorkerProcess]):
    """Nodes spread over processes. ``app`` names the markets' app as ``module:attribute``."""

    def __init__(
        self,
        node_configs: Sequence[NodeConfig],
        workers: int,
        on_reply: OnReply = ignore,
        app: str = HONEST_APP,
    ) -> None:
        self._app = app
        super().__init__(node_configs, workers, on_reply)

    def _worker(self, node_configs: Mapping[int, NodeConfig]) -> WorkerProcess:
        return WorkerProcess(node_configs, self._app)

    def _spoken(self, workers: Sequence[WorkerProcess], seconds: float | None) -> Iterable[WorkerProcess]:
        by_connection = {worker.connection: worker for worker in workers}
        return [by_connection[connection] for connection in wait(list(by_connection), seconds)]  # type: ignore[index]

    def _close(self) -> None:
        for worker in self._workers:
            worker.connection.close()  # an idle process ends by itself when its pipe does
        until = time.monotonic() + _STOP_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.end()


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
            connection.send_bytes(encode(answer(client_app, message, contexts)))
        except BrokenPipeError:
            return
