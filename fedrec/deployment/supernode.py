"""Flower's SuperNode, quicker: ``python -m fedrec.deployment.supernode``, with Flower's own arguments.

Flower's node asks for messages every three seconds and is missed a minute after it is gone. Here it asks twice a second
and is missed after twenty seconds. And a run that is stopped while the node fetches one of its messages leaves nothing
behind: Flower's node would keep the task with half of its message, whose executor then waits two hours for the rest.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

from fedrec.deployment.ending import end_with
from fedrec.deployment.patience import look_often, patient_invoker
from fedrec.offline import go_offline

POLL_SECONDS = 0.5
REPLY_SECONDS = 0.1  # between two looks whether the market has answered
HEARTBEAT_SECONDS = 10  # the least that a SuperLink accepts; a node is missed after two


def main() -> None:
    """Start Flower's SuperNode."""
    go_offline()
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection, start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    clock = SimpleNamespace(**{**vars(time), "sleep": _sleep})
    setattr(start_client_internal, "time", clock)  # noqa: B010  its pauses are written into the loop
    look_often(start_client_internal)
    setattr(start_client_internal, "http_request_response", forgetting(fleet_http_connection.http_request_response))  # noqa: B010
    setattr(fleet_http_connection, "make_simple_http_retry_invoker", patient_invoker)  # noqa: B010
    for module in (heartbeat, fleet_http_connection):
        setattr(module, "HEARTBEAT_DEFAULT_INTERVAL", HEARTBEAT_SECONDS)  # noqa: B010
    end_with(flower_supernode)


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
