"""A market's executor: answers its node's messages with an approved bundle, in a process that stays up."""

import hashlib
import importlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from flwr.app import Context, Error, Message
from flwr.cli.config_utils import get_fab_metadata
from flwr.cli.install import install_from_fab
from flwr.common.config import get_project_config
from flwr.common.constant import SubStatus
from flwr.common.serde import context_to_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http

from fedrec.deployment import market_worker
from fedrec.deployment.alive import Alive
from fedrec.deployment.bundle import read_approved
from fedrec.deployment.descendants import adopt_descendants, end_descendants
from fedrec.deployment.error_codes import EXPIRED, FAILED, NOT_APPROVED, NOT_STARTED, OTHER_VERSION, WORKER_DIED
from fedrec.deployment.metrics import MarketMetrics
from fedrec.deployment.packing import pack_reply, unpack
from fedrec.deployment.patience import look_often
from fedrec.deployment.runtime_api import RuntimeApi, pass_on, python, say
from fedrec.deployment.series import error_class
from fedrec.version import VERSION

runtime = importlib.import_module("flwr.supernode.runtime.run_clientapp")  # its package shows a function of that name
look_often(runtime)

_START_SECONDS = 300.0  # to import what the app needs
_STOP_SECONDS = 5.0


class MarketWorker:
    """One process that answers for one bundle, for as long as the bundle stays the same and the process lives."""

    def __init__(self, folder: Path) -> None:
        adopt_descendants()
        self._folder = folder  # where bundles are unpacked
        self._hash = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None

    def answer(self, bundle: bytes, digest: str, message: Message, context: Context) -> Message:
        """The bundle's reply; where its process dies or takes longer than the message lives, an error reply."""
        left = message.metadata.created_at + message.metadata.ttl - time.time()
        if left <= 0:
            return Message(Error(EXPIRED, "the question came too late"), reply_to=message)
        if self._hash != digest or self._process is None or self._process.poll() is not None:
            self.stop()
            try:
                self._start(bundle)
            except Exception as error:
                say(f"bundle {digest} does not start: {type(error).__name__}: {error}")
                return self._lost(message, NOT_STARTED, "did not start; see the log of the market's executor")
            self._hash = digest
        connection, process = self._connection, self._process
        if connection is None or process is None:
            raise RuntimeError("a worker without its pipe")
        until = time.monotonic() + left
        # Ends the process, and so the waiting, wherever it hangs: taking the question, or half way through its answer.
        deadline = threading.Timer(left, process.kill)
        deadline.start()
        try:
            connection.send_bytes(message_to_proto(message).SerializeToString())
            connection.send_bytes(context_to_proto(context).SerializeToString())
            return message_from_proto(ProtoMessage.FromString(connection.recv_bytes()))
        except (EOFError, OSError):
            if time.monotonic() >= until:
                return self._lost(message, EXPIRED, f"took more than {message.metadata.ttl:.0f} s")
            return self._lost(message, WORKER_DIED, "died")
        finally:
            deadline.cancel()

    def stop(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        end_descendants()  # what the bundle's code may have started and left behind
        self._connection = self._process = None
        if self._unpacked is not None:
            self._unpacked.cleanup()
            self._unpacked = None

    def _start(self, bundle: bytes) -> None:
        # Afresh every time: what lies there was once in reach of a bundle's code.
        self._folder.mkdir(parents=True, exist_ok=True)
        self._unpacked = tempfile.TemporaryDirectory(dir=self._folder)
        unpacked = install_from_fab(bundle, install_dir=Path(self._unpacked.name), skip_prompt=True)
        reference = get_project_config(unpacked)["tool"]["flwr"]["app"]["components"]["clientapp"]
        ours, theirs = socket.socketpair()
        with theirs:
            command = python(market_worker.__file__, str(theirs.fileno()), reference)
            environment = {**os.environ, "PYTHONPATH": str(unpacked), "FLWR_LOG_LEVEL": "WARNING"}
            self._process = subprocess.Popen(  # noqa: S603
                command,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        if self._process.stdout is None:
            raise RuntimeError("a worker without output")
        pass_on(self._process.stdout)
        self._connection = Connection(ours.detach())
        if not self._connection.poll(_START_SECONDS):
            raise TimeoutError
        self._connection.recv_bytes()

    def _lost(self, message: Message, code: int, how: str) -> Message:
        """An error reply for a process that is gone, or goes now."""
        if self._process is not None:
            self._process.kill()
        self.stop()
        return Message(Error(code, f"the market's process {how}; it is replaced"), reply_to=message)


class MarketExecutor:
    """Answers the messages of one market's SuperNode, one after the other."""

    task_type = TaskType.CLIENT_APP

    def __init__(self, api: RuntimeApi, approved: Path, folder: Path, alive: Alive, metrics: MarketMetrics) -> None:
        self._api = api
        self._metrics = metrics
        self._approved = approved
        self._alive = alive
        self._worker = MarketWorker(folder)

    def execute(self, token: str) -> None:
        """Answer one message, unless the coordinator has given it up meanwhile."""
        client = self._api.task_client(token)
        heartbeat = HeartbeatSender(self._signing(make_task_heartbeat_fn_http(client)))
        heartbeat.start()
        try:
            message, context, _, bundle = runtime.pull_task_input(client)
            with self._metrics.answering(message.metadata.message_type) as answer:
                try:
                    reply = pack_reply(self._reply(unpack(message), context, bundle))
                except Exception as error:  # without a reply the node would wait for one for ever
                    say(f"{message.metadata.message_type} failed: {type(error).__name__}: {error}")
                    reply = Message(Error(FAILED, f"{type(error).__name__} (details in its log)"), reply_to=message)
                runtime.push_message(client, reply, context)
                failed = reply.has_error()
                answer.outcome = error_class(reply.error.code) if failed else "answered"
                answer.bytes = 0 if failed else sum(record.count_bytes() for record in reply.content.values())
            status, details = (SubStatus.FAILED, reply.error.reason or "") if failed else (SubStatus.COMPLETED, "")
            runtime.push_task_output(client, None, status, details)
        finally:
            heartbeat.stop()
            client.close()

    def stop(self) -> None:
        """End what runs."""
        self._worker.stop()

    def _signing(self, beat: Callable[[], bool]) -> Callable[[], bool]:
        """A heartbeat that says, where the node answers it, that this process is up."""

        def beating() -> bool:
            heard = beat()
            if heard:
                self._alive.sign()
            return heard

        return beating

    def _reply(self, message: Message, context: Context, bundle: Fab) -> Message:
        digest = hashlib.sha256(bundle.content).hexdigest()  # never the hash that came with it
        if digest not in read_approved(self._approved):
            self._worker.stop()
            say(f"refused bundle {digest}: not in {self._approved}; to allow it: `fedrec deploy approve`")
            reason = f"bundle {digest[:12]} is not approved by this market's operator"
            return Message(Error(NOT_APPROVED, reason), reply_to=message)
        _, there = get_fab_metadata(bundle.content)
        if there != (here := VERSION):
            # The two speak through a pipe and pack arrays in a way that may change from version to version.
            reason = f"the bundle is of fedrec {there}, this market's host has {here}; install one version everywhere"
            say(f"refused bundle {digest}: {reason}")
            return Message(Error(OTHER_VERSION, reason), reply_to=message)
        return self._worker.answer(bundle.content, digest, message, context)
