"""How the coordinator's host reaches its SuperLink, and what it asks of it there: runs, nodes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedrec.deployment.bundle import Bundle
from fedrec.deployment.certificates import public_pem
from fedrec.errors import RunError, UserError
from fedrec.files import market_name
from fedrec.strict_yaml import parse_yaml

FILE = "connection.yaml"
HOME = "FEDREC_HOME"
_ENDED = "finished"


class _Description(BaseModel):
    """What ``connection.yaml`` holds; paths are relative to it."""

    model_config = ConfigDict(extra="forbid")
    address: str = Field(pattern=r"^[^\s/]+:\d+$")
    authority: str
    runs: str
    markets: dict[str, str] = Field(min_length=1)


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands, in the SuperLink's words."""

    ended: bool
    completed: bool
    details: str


@dataclass(frozen=True)
class Node:
    """A registered node."""

    number: int
    market: str | None  # None where its key is that of no market here
    status: str


@dataclass(frozen=True)
class Connection:
    """A SuperLink on this host, and the markets that may take part: their public node keys by name."""

    path: Path
    address: str
    authority: Path
    runs: Path
    markets: dict[str, Path]

    @classmethod
    def open(cls, name: str) -> "Connection":
        """A connection by the path of its folder, or by its name in the folder that ``FEDREC_HOME`` names.

        Raises :class:`UserError` for one that is not there or cannot be read.
        """
        home = Path(os.environ.get(HOME, "~/.fedrec")).expanduser()
        folder = next((path for path in (Path(name), home / name) if (path / FILE).is_file()), None)
        if folder is None:
            raise UserError(
                f"--connection {name!r}: no {FILE} in {name} or {home / name}; make one with `fedrec deploy init`"
            )
        path = folder / FILE
        try:
            found = _Description.model_validate(parse_yaml(path.read_text(encoding="utf-8-sig"), str(path)))
        except UnicodeDecodeError:
            raise UserError(f"{path}: not UTF-8; write it as UTF-8") from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise UserError(f"{path}: {key}: {first['msg']}; see docs/how-to/deploy.md") from None
        markets = {market_name(market, str(path)): folder / key for market, key in sorted(found.markets.items())}
        return cls(path, found.address, folder / found.authority, (folder / found.runs).resolve(), markets)

    def keys(self) -> dict[str, str]:
        """The markets' public keys (PEM) by name."""
        return {market: public_pem(path) for market, path in self.markets.items()}

    @contextmanager
    def control(self) -> Iterator["Control"]:
        """Talk to the SuperLink."""
        try:
            certificate = self.authority.read_bytes()
        except OSError:
            raise UserError(
                f"{self.path}: authority {self.authority} is not there; copy it from the deployment"
            ) from None
        client = ControlHttpClient.from_server_address(
            server_address=self.address,
            insecure=False,
            root_certificates=certificate,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="fedrec")],
        )
        try:
            yield Control(client, self)
        finally:
            client.close()


class Control:
    """The SuperLink's control interface."""

    def __init__(self, client: ControlHttpClient, connection: Connection) -> None:
        self._client = client
        self._connection = connection

    def start(self, bundle: Bundle, settings: dict[str, str]) -> int:
        """Start a run; returns its number."""
        fab = fab_to_proto(Fab(bundle.hash, bundle.data, {}))
        config = user_config_to_proto({**settings})
        response = self._ask("StartRun", StartRunRequest(fab=fab, override_config=config))
        if not response.HasField("run_id"):
            raise RunError(f"{self._connection.address}: the SuperLink started no run; see its log")
        return int(response.run_id)

    def status(self, run: int) -> RunStatus:
        """Where a run stands."""
        try:
            status = self._ask("ListRuns", ListRunsRequest(run_id=run)).run_dict[run].status
        except RefusedError as error:
            if error.code != ApiErrorCode.RUN_ID_NOT_FOUND:
                raise
            return RunStatus(ended=True, completed=False, details="the SuperLink was restarted and knows it no more")
        return RunStatus(status.status == _ENDED, status.sub_status == "completed", str(status.details))

    def stop(self, run: int) -> None:
        """Stop a run."""
        self._ask("StopRun", StopRunRequest(run_id=run))

    def nodes(self) -> list[Node]:
        """The nodes that are registered now."""
        market_of = {pem.strip(): market for market, pem in self._connection.keys().items()}
        return [
            Node(info.node_id, market_of.get(info.public_key.decode(errors="replace").strip()), str(info.status))
            for info in self._ask("ListNodes", ListNodesRequest()).nodes_info
            if info.status != "unregistered"
        ]

    def register(self) -> None:
        """Let the nodes of all markets in; those that are in already stay."""
        known = {node.market for node in self.nodes()}
        for market, pem in self._connection.keys().items():
            if market not in known:
                self._ask("RegisterNode", RegisterNodeRequest(public_key=pem.encode(), name=market))

    def unregister(self, node: int) -> None:
        """Let a node in no more."""
        self._ask("UnregisterNode", UnregisterNodeRequest(node_id=node))

    def _ask(self, call: str, request: Any) -> Any:
        address = self._connection.address
        try:
            return getattr(self._client, call)(request)
        except httpx.HTTPStatusError as error:
            known = FlowerError.from_json(error.response.text)
            said = known.message if known is not None else error.response.text[:200]
            text = f"SuperLink {address}: {call} refused: {said or error.response.status_code}"
            raise RefusedError(text, known.code if known is not None else None) from None
        except httpx.TransportError as error:
            raise UnreachableError(
                f"SuperLink {address}: no answer ({type(error).__name__}: {str(error)[:120]}); is it running here?"
            ) from None


class RefusedError(UserError):
    """The SuperLink answers no. ``code`` is Flower's, where it gave one."""

    def __init__(self, text: str, code: int | None) -> None:
        super().__init__(text)
        self.code = code


class UnreachableError(UserError):
    """The SuperLink does not answer."""
