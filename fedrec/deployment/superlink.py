"""Flower's SuperLink behind a gate: ``python -m fedrec.deployment.superlink``, with Flower's own arguments.

All interfaces of a SuperLink share one port, and without an account system whoever reaches the port may start runs,
register nodes and fetch tokens. See :mod:`fedrec.deployment.gate` for who may do what here.
"""

import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from fedrec.deployment.alive import Alive
from fedrec.deployment.control_token import control_token, read_secret
from fedrec.deployment.ending import end_with
from fedrec.deployment.logs import HANDLERS_STAY, log_to_console
from fedrec.errors import UserError
from fedrec.offline import go_offline

_LOOK_SECONDS = 2.0  # between two looks at itself


def main() -> None:
    """Start Flower's SuperLink with the gate outermost."""
    go_offline()
    from flwr.server.superlink.linkstate import linkstate_factory
    from flwr.supercore.corestate import in_memory_corestate
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    from fedrec.deployment import link_memory
    from fedrec.deployment.gate import HEALTH, Gate

    log_to_console("superlink")
    token = control_token(read_secret(_argument("--superexec-auth-secret-file")))
    others = extensions.get_middleware
    gate = Middleware(Gate, token, _is_let_in)
    setattr(extensions, "get_middleware", lambda: (gate, *others()))  # noqa: B010  Flower's hook for editions of its own
    link_memory.install([linkstate_factory])
    setattr(in_memory_corestate, "HEARTBEAT_PATIENCE", 1)  # noqa: B010  a run whose process is gone fails after 30 s, not 60
    port, authority = _argument("--port"), Path(_argument("--ssl-ca-certfile"))
    watch = (f"https://127.0.0.1:{port}{HEALTH}", authority, Alive.of_environment())
    threading.Thread(target=_watch_itself, args=watch, daemon=True).start()
    setattr(sys.modules[flower_superlink.__module__], "get_uvicorn_log_config", lambda _: HANDLERS_STAY)  # noqa: B010
    flower_superlink()


def _is_let_in(scope: Any, key: bytes) -> bool:
    """Whether a public key is that of a registered node."""
    return scope["app"].state.linkstate_factory.state().get_node_id_by_public_key(key) is not None


def _argument(name: str) -> str:
    """One of Flower's arguments, the last where it is given twice, as Flower takes it."""
    words = [word for one in sys.argv[1:] for word in (one.split("=", 1) if one.startswith("--") else [one])]
    places = [place for place, word in enumerate(words[:-1]) if word == name]
    if not places:
        raise UserError(f"{name}: missing; the compose file that `fedrec deploy init` makes names it")
    return words[places[-1] + 1]


def _watch_itself(address: str, authority: Path, alive: Alive) -> None:
    """Sign whenever this SuperLink answers, for as long as the process lives."""
    pause = threading.Event()
    with httpx.Client(verify=ssl.create_default_context(cafile=str(authority)), timeout=_LOOK_SECONDS) as client:
        while not pause.wait(_LOOK_SECONDS):
            try:
                if client.get(address).is_success:
                    alive.sign()
            except (httpx.HTTPError, OSError):
                continue


if __name__ == "__main__":
    end_with(main)
