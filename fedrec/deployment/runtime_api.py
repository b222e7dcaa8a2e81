"""The interface between a SuperNode or SuperLink and the executor beside it, and how an executor starts processes."""

import re
import sys
import threading
import time
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import IO, TypeVar

from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient

from fedrec.deployment.control_token import ControlTokenInterceptor, control_token
from fedrec.deployment.patience import FIRST_SECONDS, patient_invoker
from fedrec.words import cleaned

Client = TypeVar("Client", bound=RuntimeHttpClient)
_MESSAGE_SECONDS = 10.0
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_LONGEST_LINE = 2000  # characters
_log = getLogger("fedrec.executor")
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


class TaskClient(RuntimeHttpClient):
    """A client that may work on one task, whose message may come a moment after it."""

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:  # noqa: N802  Flower's name
        """The task's message. A node announces the task first: else it would wait for a reply for ever."""
        until = time.monotonic() + _MESSAGE_SECONDS
        while True:
            response = super().PullMessages(request)
            if response.messages_list or time.monotonic() > until:
                return response
            time.sleep(FIRST_SECONDS)


@dataclass(frozen=True)
class RuntimeApi:
    """Where the SuperNode or SuperLink beside this executor listens, and how to be believed there."""

    address: str
    root_certificates: Path
    secret: bytes

    @property
    def token(self) -> str:
        """What the SuperLink's gate asks for."""
        return control_token(self.secret)

    def executor_client(self) -> RuntimeHttpClient:
        """A client that may ask for tasks."""
        authentication = SuperExecAuthHttpInterceptor(master_secret=self.secret, protected_methods=_ACQUIRE)
        return self._client(RuntimeHttpClient, "SuperExec", authentication)

    def task_client(self, token: str) -> RuntimeHttpClient:
        """A client that may work on one task."""
        return self._client(TaskClient, "flwr-clientapp", RuntimeTokenHttpInterceptor(token))

    def _client(
        self,
        kind: type[Client],
        name: str,
        authentication: SuperExecAuthHttpInterceptor | RuntimeTokenHttpInterceptor,
    ) -> Client:
        return kind.from_server_address(
            server_address=self.address,
            insecure=False,
            root_certificates=self.root_certificates.read_bytes(),
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name=name),
                ControlTokenInterceptor(self.token),  # a SuperLink's gate asks for it; a SuperNode has none
                authentication,
            ],
            retry_invoker=patient_invoker(),
        )


def python(script: str, *arguments: str) -> list[str]:
    """A command for one of the worker scripts; ``-P`` keeps the script's own folder off the path."""
    return [sys.executable, "-P", script, *arguments]


def pass_on(stream: IO[bytes]) -> None:
    """Say what a worker prints, line by line, in a thread of its own: it knows neither our level nor our form."""

    def read() -> None:
        with stream:
            for line in stream:
                if text := cleaned(_COLOUR.sub("", line.decode(errors="replace")), _LONGEST_LINE):
                    say(f"bundle: {text}")

    threading.Thread(target=read, daemon=True).start()


def say(text: str) -> None:
    """A line in the executor's log, which stays on its host."""
    _log.info("%s", text)
