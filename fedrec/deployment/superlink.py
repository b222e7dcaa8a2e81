"""Flower's SuperLink behind a gate: ``python -m fedrec.deployment.superlink``, with Flower's own arguments.

All interfaces of a SuperLink share one port, and without an account system whoever reaches the port may start runs,
register nodes and fetch tokens. Markets need the fleet's interface alone. So everything else answers this host only,
and no request is longer than what Flower itself sends.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any

from fedrec.offline import go_offline

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FLEET = "/v1/fleet/"
HEALTH = "/health"
LARGEST_REQUEST = 32 * 1024 * 1024  # bytes; Flower cuts arrays into objects of 5 MiB


class Gate:
    """ASGI middleware: other hosts may use the fleet's interface and nothing else, in requests of bounded size."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        if scope["type"] != "http" or not (path.startswith(FLEET) or path == HEALTH or _local(scope)):
            await _refuse(
                send, 403, b"this answers its own host only; with containers: docker compose exec coordinator"
            )
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit() and scope["method"] == "POST":
            await _refuse(send, 411, b"say how long the request is")
        elif length.isdigit() and int(length) > LARGEST_REQUEST:
            await _refuse(send, 413, b"request too large")
        else:
            await self._app(scope, receive, send)


def main() -> None:
    """Start Flower's SuperLink with the gate outermost."""
    go_offline()
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    others = extensions.get_middleware
    setattr(extensions, "get_middleware", lambda: (Middleware(Gate), *others()))  # noqa: B010  Flower's hook for editions of its own
    flower_superlink()


def _local(scope: Scope) -> bool:
    """Whether a request comes from this host. Behind a published port of a container, others never do."""
    client = scope.get("client")
    return client is not None and ip_address(client[0]).is_loopback


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


if __name__ == "__main__":
    main()
