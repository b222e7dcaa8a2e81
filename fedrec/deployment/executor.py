"""What runs a bundle's code on a host: ``python -m fedrec.deployment.executor market|coordinator ...``.

Stands where Flower's SuperExec would, beside a SuperNode or the SuperLink, and differs in three things. It runs only
bundles whose hash the operator approved, compared before anything is unpacked or imported. It takes on only the kind of
task that its host is for, so that no agent, model or connector of a bundle ever starts. And a market's process stays
up from message to message: what was imported and prepared need not be again.
"""

import argparse
import hashlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from flwr.app import Context, Error, Message
from flwr.cli.install import install_from_fab
from flwr.common.config import get_project_config
from flwr.common.constant import SubStatus
from flwr.common.serde import context_to_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.auth import load_superexec_auth_secret
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.grpc_health import run_health_server_grpc_no_tls
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient

from fedrec.deployment import coordinator_worker, market_worker
from fedrec.deployment.bundle import read_approved
from fedrec.deployment.ending import end_with
from fedrec.deployment.packing import pack_reply, unpack
from fedrec.deployment.patience import look_often, patient_invoker
from fedrec.errors import UserError

runtime = importlib.import_module("flwr.supernode.runtime.run_clientapp")  # its package shows a function of that name
look_often(runtime)

# Error codes of replies; Flower keeps lower ones for its own errors, and the coordinator has 1003.
NOT_APPROVED, WORKER_DIED, EXPIRED, FAILED = 1001, 1002, 1004, 1005
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_POLL_SECONDS = 0.1
_START_SECONDS = 300.0  # to import what the app needs
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class RuntimeApi:
    """Where the SuperNode or SuperLink of this host listens, and how to be believed there."""

    address: str
    root_certificates: Path
    secret: bytes

    def executor_client(self) -> RuntimeHttpClient:
        """A client that may ask for tasks."""
        authentication = SuperExecAuthHttpInterceptor(master_secret=self.secret, protected_methods=_ACQUIRE)
        return self._client("SuperExec", authentication)

    def task_client(self, token: str) -> RuntimeHttpClient:
        """A client that may work on one task."""
        return self._client("flwr-clientapp", RuntimeTokenHttpInterceptor(token))

    def _client(
        self, name: str, authentication: SuperExecAuthHttpInterceptor | RuntimeTokenHttpInterceptor
    ) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self.address,
            insecure=False,
            root_certificates=self.root_certificates.read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name=name), authentication],
            retry_invoker=patient_invoker(),
        )


class MarketWorker:
    """One process that answers for one bundle, for as long as the bundle stays the same and the process lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder  # where bundles are unpacked
        self._hash = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None

    def answer(self, bundle: bytes, message: Message, context: Context) -> Message:
        """The bundle's reply; where its process dies or takes longer than the message lives, an error reply."""
        left = message.metadata.created_at + message.metadata.ttl - time.time()
        if left <= 0:
            return Message(Error(EXPIRED, "the question came too late"), reply_to=message)
        digest = hashlib.sha256(bundle).hexdigest()
        if self._hash != digest or self._process is None or self._process.poll() is not None:
            self.stop()
            try:
                self._start(bundle)
            except Exception as error:
                _say(f"bundle {digest} does not start: {type(error).__name__}: {error}")
                return self._lost(message, "did not start; see the log of the market's executor")
            self._hash = digest
        connection = self._connection
        if connection is None:
            raise RuntimeError("a worker without its pipe")
        try:
            connection.send_bytes(message_to_proto(message).SerializeToString())
            connection.send_bytes(context_to_proto(context).SerializeToString())
            if not connection.poll(left):
                return self._lost(message, f"took more than {message.metadata.ttl:.0f} s")
            return message_from_proto(ProtoMessage.FromString(connection.recv_bytes()))
        except (EOFError, OSError):
            return self._lost(message, "died")

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
            command = _python(market_worker.__file__, str(theirs.fileno()), reference)
            environment = {**os.environ, "PYTHONPATH": str(unpacked)}
            self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])  # noqa: S603
        self._connection = Connection(ours.detach())
        if not self._connection.poll(_START_SECONDS):
            raise TimeoutError
        self._connection.recv_bytes()

    def _lost(self, message: Message, how: str) -> Message:
        """An error reply for a process that is gone, or goes now."""
        if self._process is not None:
            self._process.kill()
        self.stop()
        return Message(Error(WORKER_DIED, f"the market's process {how}; it is replaced"), reply_to=message)


class MarketExecutor:
    """Answers the messages of one market's SuperNode, one after the other."""

    task_type = TaskType.CLIENT_APP

    def __init__(self, api: RuntimeApi, approved: Path, folder: Path) -> None:
        self._api = api
        self._approved = approved
        self._worker = MarketWorker(folder)

    def execute(self, token: str) -> None:
        """Answer one message, unless the coordinator has given it up meanwhile."""
        client = self._api.task_client(token)
        heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heartbeat.start()
        try:
            message, context, _, bundle = runtime.pull_task_input(client)
            try:
                reply = pack_reply(self._reply(unpack(message), context, bundle))
            except Exception as error:  # without a reply the node would wait for one for ever
                _say(f"{message.metadata.message_type} failed: {type(error).__name__}: {error}")
                reply = Message(Error(FAILED, f"{type(error).__name__} (details in its log)"), reply_to=message)
            runtime.push_message(client, reply, context)
            failed = reply.has_error()
            status, details = (SubStatus.FAILED, reply.error.reason or "") if failed else (SubStatus.COMPLETED, "")
            runtime.push_task_output(client, None, status, details)
        finally:
            heartbeat.stop()
            client.close()

    def stop(self) -> None:
        """End what runs."""
        self._worker.stop()

    def _reply(self, message: Message, context: Context, bundle: Fab) -> Message:
        digest = hashlib.sha256(bundle.content).hexdigest()  # never the hash that came with it
        if digest not in read_approved(self._approved):
            self._worker.stop()
            _say(f"refused bundle {digest}: not in {self._approved}; to allow it: `fedrec deploy approve`")
            reason = f"bundle {digest[:12]} is not approved by this market's operator"
            return Message(Error(NOT_APPROVED, reason), reply_to=message)
        return self._worker.answer(bundle.content, message, context)


class CoordinatorExecutor:
    """Starts a process for every run that the SuperLink has accepted."""

    task_type = TaskType.SERVER_APP

    def __init__(self, api: RuntimeApi, approved: Path, folder: Path) -> None:
        self._api = api
        self._approved = approved
        self._folder = folder
        self._runs: list[subprocess.Popen[bytes]] = []

    def execute(self, token: str) -> None:
        """Start the run of one token."""
        self._runs = [run for run in self._runs if run.poll() is None]
        try:
            approved = sorted(read_approved(self._approved))
        except UserError as error:
            _say(str(error))
            approved = []  # so that the run ends and says that its bundle is not approved
        told = {
            "address": self._api.address,
            "root_certificates": str(self._api.root_certificates),
            "token": token,
            "approved": approved,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "FLWR_HOME": tempfile.mkdtemp(dir=self._folder)}  # where Flower unpacks bundles
        command = _python(coordinator_worker.__file__)
        run = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)  # noqa: S603
        if run.stdin is None:
            raise RuntimeError("a run without standard input")
        with run.stdin as stream:
            stream.write(json.dumps(told).encode())
        self._runs.append(run)

    def stop(self) -> None:
        """End what runs; Flower's runtime tells the SuperLink."""
        for run in self._runs:
            run.terminate()
        until = time.monotonic() + _STOP_SECONDS
        for run in self._runs:
            with suppress(subprocess.TimeoutExpired):
                run.wait(max(0.1, until - time.monotonic()))


def serve(api: RuntimeApi, executor: MarketExecutor | CoordinatorExecutor) -> None:
    """Ask for tasks and execute them until the process is told to end."""
    client = api.executor_client()
    try:
        while True:
            try:
                acquired = client.AcquireTask(AcquireTaskRequest(supported_task_types=[executor.task_type]))
                if acquired.HasField("task") and acquired.token:
                    executor.execute(acquired.token)
                    continue
            except (Exception, RunNotRunningException) as error:  # Flower's is no Exception
                _say(f"a task was lost: {type(error).__name__}: {error}")
            time.sleep(_POLL_SECONDS)
    finally:
        client.close()
        executor.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the image."""
    parser = argparse.ArgumentParser(prog="fedrec.deployment.executor", description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=["market", "coordinator"])
    parser.add_argument("--runtime-api-address", required=True, help="of the SuperNode or SuperLink beside this")
    parser.add_argument("--root-certificates", required=True, type=Path, help="the authority's certificate")
    parser.add_argument("--superexec-auth-secret-file", required=True, help="shared with the SuperNode or SuperLink")
    parser.add_argument("--approved", required=True, type=Path, help="hashes of the bundles that may run here")
    parser.add_argument("--bundles", required=True, type=Path, help="folder where approved bundles are unpacked")
    parser.add_argument("--health-server-address", help="HOST:PORT where health is told, without TLS: this host's")
    given = parser.parse_args(arguments)
    secret = load_superexec_auth_secret(secret_file=given.superexec_auth_secret_file)
    if secret is None:
        raise UserError(f"{given.superexec_auth_secret_file}: holds no secret; make it again with `fedrec deploy init`")
    api = RuntimeApi(given.runtime_api_address, given.root_certificates, secret)
    kind = MarketExecutor if given.kind == "market" else CoordinatorExecutor
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    health = given.health_server_address and run_health_server_grpc_no_tls(given.health_server_address)
    read_approved(given.approved)  # a file that cannot be read is said now
    _say(f"{given.kind}: waiting for tasks at {api.address}")
    try:
        serve(api, kind(api, given.approved, given.bundles))
    finally:
        if health:
            health.stop(grace=None)  # and kept until here: a server that nobody holds is stopped


def _python(script: str, *arguments: str) -> list[str]:
    """A command for one of the worker scripts; ``-P`` keeps the script's own folder off the path."""
    return [sys.executable, "-P", script, *arguments]


def _say(text: str) -> None:
    print(f"fedrec executor: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    end_with(main)
