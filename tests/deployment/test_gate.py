"""What the SuperLink's gate lets through: by headers alone, before a byte of a body is read."""

import asyncio
import base64
from collections.abc import Awaitable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import sign_message

from fedrec.deployment import gate
from fedrec.deployment.control_token import HEADER, control_token
from fedrec.deployment.gate import Gate

TOKEN = control_token(b"a secret")
PROTOBUF = {"content-type": "application/protobuf"}
OBJECT = "/v1/fleet/push-object"
LARGE = str(gate.SMALL_REQUEST + 1)


class Node:
    """Signs the time with its key, as Flower's node does."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP384R1())
        self.key = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def headers(self, at: str | None = None) -> dict[str, str]:
        stamp = at or now().isoformat()
        signature = sign_message(self.private, stamp.encode())
        signed = {"flwr-public-key": self.key, "flwr-signature": signature}
        return {name: base64.b64encode(value).decode() for name, value in signed.items()} | {"flwr-timestamp": stamp}


MEMBER, STRANGER = Node(), Node()


class Server:
    """The gate before an application that reads all of a body and says 200."""

    def __init__(self) -> None:
        self.gate = Gate(self.application, TOKEN, lambda _, key: key == MEMBER.key)
        self.read: list[int] = []

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        total, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            total += len(message.get("body", b""))
            more = message.get("more_body", False)
        self.read.append(total)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, path: str, headers: dict[str, str], body: Any = None, method: str = "POST") -> int:
        """The status; 0 where nobody answers. ``body`` makes messages; without it an empty one comes."""
        told: list[int] = []

        async def receive() -> Any:
            return await body() if body is not None else {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                told.append(message["status"])

        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {"type": "http", "path": path, "method": method, "headers": raw}
        await self.gate(scope, receive, send)
        return told[0] if told else 0


def status(path: str, headers: dict[str, str], method: str = "POST") -> int:
    return asyncio.run(Server().ask(path, headers, method=method))


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1/control/start-run", {"content-length": "1"}, 403),
        ("/v1/control/start-run", {"content-length": "1", HEADER: "guess"}, 403),
        ("/v1/control/start-run", {"content-length": "1", HEADER: "\xe9"}, 403),
        ("/v1/control/start-run", {"content-length": "1", HEADER: TOKEN, **PROTOBUF}, 200),
        ("/v1/runtime/acquire-task", {"content-length": "1", **PROTOBUF}, 403),
        (OBJECT, {"content-length": "1", **PROTOBUF}, 200),
        (OBJECT, PROTOBUF, 411),
        (OBJECT, {"transfer-encoding": "chunked", **PROTOBUF}, 411),
        (OBJECT, {"content-length": "1" * 5000, **PROTOBUF}, 413),
        (OBJECT, {"content-length": str(gate.LARGEST_REQUEST + 1), **PROTOBUF, "signed": "member"}, 413),
        (OBJECT, {"content-length": "1", "content-type": "text/plain"}, 415),
        (OBJECT, {"content-length": LARGE, **PROTOBUF}, 401),
        (OBJECT, {"content-length": LARGE, **PROTOBUF, "signed": "stranger"}, 401),
        (OBJECT, {"content-length": LARGE, **PROTOBUF, "signed": "long ago"}, 401),
        (OBJECT, {"content-length": LARGE, **PROTOBUF, "signed": "another time"}, 401),
        (OBJECT, {"content-length": LARGE, **PROTOBUF, "signed": "member"}, 200),
    ],
)
def test_who_may_ask_what(path: str, headers: dict[str, str], expected: int) -> None:
    signatures = {  # made now: they are good for seconds
        "member": MEMBER.headers,
        "stranger": STRANGER.headers,
        "long ago": lambda: MEMBER.headers("2020-01-01T00:00:00+00:00"),
        "another time": lambda: MEMBER.headers() | {"flwr-timestamp": now().isoformat()},
    }
    signed = headers.get("signed")
    plain = {name: value for name, value in headers.items() if name != "signed"}
    assert status(path, plain | (signatures[signed]() if signed else {})) == expected


def test_health_is_everybodys() -> None:
    assert status("/health", {}, "GET") == 200
    assert status("/docs", {}, "GET") == 403


def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/fleet/x", "headers": []}
    asyncio.run(Gate(Server().application, TOKEN, lambda *_: True)(scope, lambda: asyncio.sleep(0), send))  # type: ignore[arg-type, return-value]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def stalled() -> Awaitable[Any]:
    """A body that never comes."""
    return asyncio.sleep(3600)


async def at_once(server: Server, count: int, headers: dict[str, str]) -> list[asyncio.Task[int]]:
    """Requests whose bodies do not come, all on their way."""
    tasks = [asyncio.create_task(server.ask(OBJECT, headers, stalled)) for _ in range(count)]
    await asyncio.sleep(0.05)
    return tasks


def test_what_is_on_its_way_is_bounded_and_others_go_on() -> None:
    """Thirty large requests that never end took the SuperLink's memory before."""

    async def attack() -> tuple[int, int, int]:
        server = Server()
        large = {"content-length": str(gate.LARGEST_REQUEST), **PROTOBUF, **MEMBER.headers()}
        small = {"content-length": str(gate.SMALL_REQUEST), **PROTOBUF}
        tasks = await at_once(server, 10, large)
        refused = sum(task.done() and task.result() == 503 for task in tasks)
        strangers = await at_once(server, 2000, small)
        heartbeat = await server.ask(
            "/v1/fleet/send-node-heartbeat", {"content-length": "10", **PROTOBUF, **STRANGER.headers()}
        )
        refused_small = sum(task.done() and task.result() == 503 for task in strangers)
        for task in (*tasks, *strangers):
            task.cancel()
        await asyncio.gather(*tasks, *strangers, return_exceptions=True)
        assert not server.gate._on_their_way, "what ended is not on its way"
        return refused, refused_small, heartbeat

    refused, refused_small, heartbeat = asyncio.run(attack())
    assert refused == 10 - gate.MAX_OF_ONE // gate.LARGEST_REQUEST
    assert refused_small == 2000 - gate.MAX_OF_ONE // gate.SMALL_REQUEST
    assert heartbeat == 503, "strangers keep strangers out"


def test_strangers_keep_no_member_out() -> None:
    async def attack() -> int:
        server = Server()
        strangers = await at_once(server, 2000, {"content-length": str(gate.SMALL_REQUEST), **PROTOBUF})
        try:
            return await server.ask(OBJECT, {"content-length": "10", **PROTOBUF, **MEMBER.headers()})
        finally:
            for task in strangers:
                task.cancel()
            await asyncio.gather(*strangers, return_exceptions=True)

    assert asyncio.run(attack()) == 200


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ARRIVE_SECONDS", 0.05)
    headers = {"content-length": "10", **PROTOBUF}
    assert asyncio.run(asyncio.wait_for(Server().ask(OBJECT, headers, stalled), 5)) == 0
