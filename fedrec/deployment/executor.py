"""What runs a bundle's code on a host: ``python -m fedrec.deployment.executor market|coordinator ...``.

Stands where Flower's SuperExec would, beside a SuperNode or the SuperLink, and differs in three things. It runs only
bundles whose hash the operator approved, compared before anything is unpacked or imported. It takes on only the kind of
task that its host is for, so that no agent, model or connector of a bundle ever starts. And a market's process stays
up from message to message: what was imported and prepared need not be again.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.auth import load_superexec_auth_secret
from flwr.supercore.grpc_health import run_health_server_grpc_no_tls
from flwr.supercore.run import RunNotRunningException

from fedrec.deployment.bundle import read_approved
from fedrec.deployment.coordinator_executor import CoordinatorExecutor
from fedrec.deployment.ending import end_with
from fedrec.deployment.market_executor import MarketExecutor
from fedrec.deployment.runtime_api import RuntimeApi, say
from fedrec.errors import UserError

_POLL_SECONDS = 0.1


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
                say(f"a task was lost: {type(error).__name__}: {error}")
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
    say(f"{given.kind}: waiting for tasks at {api.address}")
    try:
        serve(api, kind(api, given.approved, given.bundles))
    finally:
        if health:
            health.stop(grace=None)  # and kept until here: a server that nobody holds is stopped


if __name__ == "__main__":
    end_with(main)
