"""What stands before the SuperLink's one port: who may ask what, and how much of it may be on its way at once.

Flower reads a request whole before it looks at who sent it. So the gate looks first, at headers alone: beyond the
fleet's interface a request needs the coordinator's token, and a large one the signature of a node that is let in. What
is on its way is bounded for each node and for all, and must arrive in time.
"""

import asyncio
import base64
import binascii
import hmac
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Any

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

from fedrec.deployment.control_token import HEADER

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Registered = Callable[[Scope, bytes], bool]  # whether a public key (PEM) is that of a node that is let in

FLEET = "/v1/fleet/"
HEALTH = "/health"
MIB = 1024 * 1024
LARGEST_REQUEST = 32 * MIB  # Flower cuts arrays into objects of 5 MiB
SMALL_REQUEST = 64 * 1024  # that a stranger may send: to be told that it is not let in
CALM = 8 * MIB  # of small requests on their way, below which nobody's signature is looked at here
MAX_OF_ONE = 96 * MIB  # on their way at once, from one node, or from all strangers together
MAX_OF_ALL = 256 * MIB
ARRIVE_SECONDS = 120.0  # for the whole body
_PROTOBUF = (b"application/protobuf", b"application/flower-protobuf-stream")
_STRANGERS = b""


class Gate:
    """ASGI middleware around Flower's application."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], token: str, registered: Registered
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._registered = registered
        self._on_their_way: Counter[bytes] = Counter()  # bytes of bodies, by sender

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, headers = str(scope["path"]), dict(scope["headers"])
        coordinator = hmac.compare_digest(headers.get(HEADER.encode(), b""), self._token)
        if not (path.startswith(FLEET) or path == HEALTH or coordinator):
            await _refuse(send, 403, b"this answers the coordinator only: docker compose exec coordinator fedrec ...")
            return
        size = _size(headers, str(scope["method"]))
        if size is None:
            await _refuse(send, 411, b"say how long the request is")
        elif size > LARGEST_REQUEST:
            await _refuse(send, 413, b"request too large")
        elif size and not headers.get(b"content-type", b"").startswith(_PROTOBUF):
            await _refuse(send, 415, b"protobuf alone")
        else:
            await self._bounded(size, self._sender(size, coordinator, scope, headers), scope, receive, send)

    def _sender(self, size: int, coordinator: bool, scope: Scope, headers: dict[bytes, bytes]) -> bytes:
        """Whose bytes these are: a node's key, the coordinator's token, or a stranger's."""
        if coordinator:
            return self._token
        if size <= SMALL_REQUEST and self._on_their_way[_STRANGERS] < CALM:
            return _STRANGERS  # Flower looks at the signature, when it has read them
        key = signed_key(headers)
        return key if key is not None and self._registered(scope, key) else _STRANGERS

    async def _bounded(self, size: int, sender: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, where there is room for the body, which must arrive in time."""
        if size > SMALL_REQUEST and sender == _STRANGERS:
            await _refuse(send, 401, b"a request of this size needs the signature of a node that is let in")
            return
        if self._on_their_way[sender] + size > MAX_OF_ONE or self._on_their_way.total() + size > MAX_OF_ALL:
            await _refuse(send, 503, b"too much on its way; ask again")
            return
        until = time.monotonic() + ARRIVE_SECONDS
        arrived = False

        async def in_time() -> MutableMapping[str, Any]:
            nonlocal arrived
            if arrived:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0.0))
            except TimeoutError:
                return {"type": "http.disconnect"}
            arrived = not message.get("more_body", False)
            return message

        self._on_their_way[sender] += size
        try:
            await self._app(scope, in_time, send)
        finally:
            self._on_their_way[sender] -= size
            if not self._on_their_way[sender]:
                del self._on_their_way[sender]


def signed_key(headers: dict[bytes, bytes]) -> bytes | None:
    """The public key (PEM) whose owner signed the time of this request; None for every other request."""
    try:
        key = base64.b64decode(headers[FLEET_HTTP_PUBLIC_KEY_HEADER.encode()], validate=True)
        signature = base64.b64decode(headers[FLEET_HTTP_SIGNATURE_HEADER.encode()], validate=True)
        stamp = headers[TIMESTAMP_HEADER.encode()]
        age = (now() - datetime.fromisoformat(stamp.decode("ascii"))).total_seconds()
        if not -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
            return None
        return key if verify_signature(bytes_to_public_key(key), stamp, signature) else None
    except (KeyError, ValueError, TypeError, binascii.Error):
        return None


def _size(headers: dict[bytes, bytes], method: str) -> int | None:
    """Bytes of the body, as the request says; None where it does not, or says it otherwise than Flower does."""
    length = headers.get(b"content-length", b"")
    if not length and method != "POST" and b"transfer-encoding" not in headers:
        return 0
    if not length.isdigit():
        return None
    return int(length) if len(length) <= 10 else LARGEST_REQUEST + 1


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
