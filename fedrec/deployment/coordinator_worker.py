"""The process in which an approved bundle leads a run, started by the coordinator's executor.

Flower's own runtime of a ServerApp, with one thing between fetching a bundle and unpacking it: its hash must be among
the approved ones. Imports nothing of the installed fedrec, so that what runs here is the bundle's code alone. What it
is told comes as JSON on standard input: ``address``, ``root_certificates`` (a path), ``token``, ``control_token``,
``approved``.
"""

import ctypes
import functools
import hashlib
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from queue import Queue
from typing import Any

from flwr.cli.install import install_from_fab
from flwr.supercore import heartbeat
from flwr.supercore.logger import mirror_output_to_queue

_PR_SET_PDEATHSIG = 1  # Linux: the signal for when the parent is gone
http_grid = importlib.import_module("flwr.superlink.grid.http_grid")

runtime = importlib.import_module("flwr.superlink.runtime.run_serverapp")  # its package shows the function alone


def main() -> None:
    """Lead the run of one token."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # else it would lead on while its run is started again
    told = json.load(sys.stdin)
    approved = frozenset(told["approved"])

    def install(bundle: bytes, **options: Any) -> Path:
        digest = hashlib.sha256(bundle).hexdigest()
        if digest not in approved:
            raise PermissionError(f"bundle {digest} is not approved on the coordinator's host; `fedrec deploy approve`")
        return install_from_fab(bundle, **options)

    class GateInterceptor(http_grid.RuntimeTokenHttpInterceptor):  # type: ignore[misc, name-defined]
        def intercept(self, context: Any, call_next: Any) -> Any:
            context.request.headers["fedrec-control"] = told["control_token"]  # as in control_token.py
            return super().intercept(context, call_next)

    setattr(http_grid, "RuntimeTokenHttpInterceptor", GateInterceptor)  # noqa: B010
    # As in patience.py, which cannot be imported here.
    pull = functools.partial(http_grid.pull_objects, initial_backoff=0.05, backoff_cap=2.0)
    setattr(http_grid, "pull_objects", pull)  # noqa: B010
    setattr(heartbeat, "HEARTBEAT_DEFAULT_INTERVAL", 10)  # noqa: B010  our SuperLink misses a run after 30 s of silence
    setattr(runtime, "install_from_fab", install)  # noqa: B010  Flower looks it up there
    log_queue: Queue[str | None] = Queue()
    mirror_output_to_queue(log_queue)
    runtime.run_serverapp(
        runtime_api_address=told["address"],
        log_queue=log_queue,
        token=told["token"],
        insecure=False,
        certificates=Path(told["root_certificates"]).read_bytes(),
        runtime_dependency_install=False,
    )


if __name__ == "__main__":
    code = 1
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)  # as ending.py explains, which cannot be imported here
