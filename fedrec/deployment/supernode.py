"""Flower's SuperNode, quicker: ``python -m fedrec.deployment.supernode``, with Flower's own arguments.

Flower's node asks for messages every three seconds and is missed a minute after it is gone. Here it asks twice a second
and is missed after twenty seconds. Flower's node ends where it is not let in; this one waits until it is. And a run
that is stopped while the node fetches one of its messages leaves nothing behind: Flower's node would keep the task with
half of its message, whose executor then waits two hours for the rest.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from logging import getLogger
from types import SimpleNamespace
from typing import Any

import httpx

from fedrec.deployment.alive import Alive
from fedrec.deployment.ending import end_with
from fedrec.deployment.logs import HANDLERS_STAY, log_to_console
from fedrec.deployment.patience import look_often, patient_invoker
from fedrec.offline import go_offline

POLL_SECONDS = 0.5
REPLY_SECONDS = 0.1  # between two looks whether the market has answered
HEARTBEAT_SECONDS = 10  # the least that a SuperLink accepts; a node is missed after two
KNOCK_SECONDS = 2.0  # between two questions whether the node is let in now
_log = getLogger("fedrec.node")


def main() -> None:
    """Start Flower's SuperNode."""
    go_offline()
    import uvicorn.config
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection, nodestate, start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.nodestate import nodestate_factory
    from flwr.supernode.servicer.runtime import runtime_handlers

    from fedrec.deployment import lost_tasks

    log_to_console("node")
    uvicorn.config.LOGGING_CONFIG.clear()
    uvicorn.config.LOGGING_CONFIG.update(HANDLERS_STAY)
    lost_tasks.install([nodestate, nodestate_factory], runtime_handlers)
    patient = waiting_to_be_let_in(FleetHttpClient, Alive.of_environment())
    setattr(fleet_http_connection, "FleetHttpClient", patient)  # noqa: B010
    clock = SimpleNamespace(**{**vars(time), "sleep": _sleep})
    setattr(start_client_internal, "time", clock)  # noqa: B010  its pauses are written into the loop
    look_often(start_client_internal)
    setattr(start_client_internal, "http_request_response", forgetting(fleet_http_connection.http_request_response))  # noqa: B010
    setattr(fleet_http_connection, "make_simple_http_retry_invoker", patient_invoker)  # noqa: B010
    for module in (heartbeat, fleet_http_connection):
        setattr(module, "HEARTBEAT_DEFAULT_INTERVAL", HEARTBEAT_SECONDS)  # noqa: B010
    end_with(flower_supernode)


def waiting_to_be_let_in(client: type[Any], alive: Alive) -> type[Any]:
    """Flower's client of the fleet's interface, which asks until its node is let in, and signs whenever it is heard."""

    class PatientFleetClient(client):  # type: ignore[misc]
        def ActivateNode(self, request: Any) -> Any:  # noqa: N802  Flower's name
            """Be let in."""
            said = ""
            while True:
                try:
                    response = super().ActivateNode(request)
                    _log.info("let in as node %d", response.node_id)
                    return response
                except httpx.HTTPStatusError as error:
                    reason = _why_not_let_in(error)
                    if reason is None:
                        raise
                    if reason != said:
                        _log.warning("%s", reason)
                        said = reason
                    time.sleep(KNOCK_SECONDS)

        def SendNodeHeartbeat(self, request: Any) -> Any:  # noqa: N802
            """Say that the node is there."""
            response = super().SendNodeHeartbeat(request)
            alive.sign()
            return response

        def PullMessages(self, request: Any) -> Any:  # noqa: N802
            """Ask for a message."""
            response = super().PullMessages(request)
            alive.sign()
            return response

    return PatientFleetClient


def _why_not_let_in(error: httpx.HTTPStatusError) -> str | None:
    """In words, where waiting helps; None for every other answer."""
    from flwr.supercore.error import ApiErrorCode, FlowerError

    known = FlowerError.from_json(error.response.text)
    if known is not None and known.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
        return (
            "not let in yet: this node's key is not in keys/ on the coordinator's host, the coordinator is not up, "
            "or another node with the key is online; asking again"
        )
    if error.response.status_code == httpx.codes.UNAUTHORIZED:
        return (
            "not let in yet: the SuperLink rejects this node's signature; compare the two hosts' clocks; asking again"
        )
    return None


class RunOverError(Exception):
    """The run was stopped while one of its messages was fetched."""


def forgetting(connect: Callable[..., AbstractContextManager[tuple[Any, ...]]]) -> Callable[..., Any]:
    """Flower's connection, whose last steps of fetching a message fail by an error that Flower's node cleans up after.

    Its own way of saying that a run is over passes by that cleaning up.
    """

    @contextmanager
    def connection(*arguments: object) -> Iterator[tuple[Any, ...]]:
        with connect(*arguments) as (*others, pull_object, push_object, confirm_message_received):
            yield *others, _or_over(pull_object), push_object, _or_over(confirm_message_received)

    return connection


def _or_over(ask: Callable[..., Any]) -> Callable[..., Any]:
    from flwr.supercore.run import RunNotRunningException

    def asked(*arguments: object) -> Any:
        try:
            return ask(*arguments)
        except RunNotRunningException:  # no Exception
            raise RunOverError("its run is over") from None

    return asked


def _sleep(seconds: float) -> None:
    """Flower's pauses: three seconds without a message, half a second while one is worked on."""
    time.sleep(POLL_SECONDS if seconds > 1 else min(seconds, REPLY_SECONDS))


if __name__ == "__main__":
    main()
