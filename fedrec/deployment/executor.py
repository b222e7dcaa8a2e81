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
from flwr.supercore.run import RunNotRunningException

from fedrec.deployment import metrics
from fedrec.deployment.admission import Admission
from fedrec.deployment.alive import Alive
from fedrec.deployment.bundle import read_approved
from fedrec.deployment.connection import Connection
from fedrec.deployment.control_token import read_secret
from fedrec.deployment.coordinator_executor import CoordinatorExecutor
from fedrec.deployment.ending import end_with
from fedrec.deployment.logs import log_to_console
from fedrec.deployment.market_executor import MarketExecutor
from fedrec.deployment.names import resolve_by_environment
from fedrec.deployment.runtime_api import RuntimeApi, say
from fedrec.deployment.unfinished import cut_off
from fedrec.errors import UserError

_POLL_SECONDS = 0.1


def serve(api: RuntimeApi, executor: MarketExecutor | CoordinatorExecutor, alive: Alive) -> None:
    """Ask for tasks and execute them until the process is told to end."""
    client = api.executor_client()
    try:
        while True:
            try:
                acquired = client.AcquireTask(AcquireTaskRequest(supported_task_types=[executor.task_type]))
                alive.sign()
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
    parser.add_argument("--state", type=Path, help="of a market: the folder of its runs, whose budgets are watched")
    parser.add_argument("--connection", help="of the coordinator: the folder whose markets are let in")
    given = parser.parse_args(arguments)
    secret = read_secret(given.superexec_auth_secret_file)
    log_to_console(given.kind)
    resolve_by_environment()
    api = RuntimeApi(given.runtime_api_address, given.root_certificates, secret)
    alive, file = Alive.of_environment(), metrics.wanted()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    read_approved(given.approved)  # a file that cannot be read is said now
    executor: MarketExecutor | CoordinatorExecutor
    counted: metrics.MarketMetrics | metrics.CoordinatorMetrics
    if given.kind == "market":
        counted = metrics.MarketMetrics(given.state, api.root_certificates, api.address)
        executor = MarketExecutor(api, given.approved, given.bundles, alive, counted)
    else:
        executor = CoordinatorExecutor(api, given.approved, given.bundles)
        if given.connection is None:
            raise UserError("--connection: missing; the coordinator's executor lets its markets in")
        runs = Connection.open(given.connection).runs
        counted = metrics.CoordinatorMetrics(runs, api.root_certificates, api.address)
        Admission(given.connection, alive, counted.nodes).start()
        alive = Alive(None)  # who lets markets in has heard of the SuperLink; who asks for runs need not say so too
        for run in cut_off(runs):
            say(f"run {run.name} was cut off, unless somebody follows it; it goes on with: fedrec run --resume {run}")
    if file is not None:
        metrics.write_regularly(counted, file)
    say(f"waiting for tasks at {api.address}")
    serve(api, executor, alive)


if __name__ == "__main__":
    end_with(main)
