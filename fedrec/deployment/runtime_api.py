"""The interface between a SuperNode or SuperLink and the executor beside it, and how an executor starts processes."""

import sys
from dataclasses import dataclass
from pathlib import Path

from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient

from fedrec.deployment.patience import patient_invoker

_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


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


def python(script: str, *arguments: str) -> list[str]:
    """A command for one of the worker scripts; ``-P`` keeps the script's own folder off the path."""
    return [sys.executable, "-P", script, *arguments]


def say(text: str) -> None:
    """A line in the executor's log, which stays on its host."""
    print(f"fedrec executor: {text}", file=sys.stderr, flush=True)
