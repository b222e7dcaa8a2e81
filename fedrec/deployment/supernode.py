"""Flower's SuperNode, quicker: ``python -m fedrec.deployment.supernode``, with Flower's own arguments.

Flower's node asks for messages every three seconds and is missed a minute after it is gone. Here it asks twice a second
and is missed after twenty seconds; nothing else is changed.
"""

import time
from types import SimpleNamespace

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
    setattr(fleet_http_connection, "make_simple_http_retry_invoker", patient_invoker)  # noqa: B010
    for module in (heartbeat, fleet_http_connection):
        setattr(module, "HEARTBEAT_DEFAULT_INTERVAL", HEARTBEAT_SECONDS)  # noqa: B010
    end_with(flower_supernode)


def _sleep(seconds: float) -> None:
    """Flower's pauses: three seconds without a message, half a second while one is worked on."""
    time.sleep(POLL_SECONDS if seconds > 1 else min(seconds, REPLY_SECONDS))


if __name__ == "__main__":
    main()
