"""How the coordinator's host reaches its SuperLink, and what it asks of it there: runs, nodes."""

import os
from collections.abc import Callable, Iterator
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
from fedrec.deployment.control_token import ControlTokenInterceptor, control_token
from fedrec.errors import RunError, UserError
from fedrec.files import market_name
from fedrec.strict_yaml import parse_yaml

FILE = "connection.yaml"
HOME = "FEDREC_HOME"
RUNS, KEYS = "FEDREC_RUNS", "FEDREC_KEYS"  # the folders of runs and keys, where they are not those that the file names
_ENDED = "finished"
_SILENT = "No heartbeat received from the task"  # Flower's words for a run whose process is gone


class _Description(BaseModel):
    """What ``connection.yaml`` holds; paths are relative to it."""

    model_config = ConfigDict(extra="forbid")
    address: str = Field(pattern=r"^[^\s/]+:\d+$")
    authority: str
    runs: str
    secret: str
    keys: str


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands, in the SuperLink's words."""

    ended: bool
    completed: bool
    details: str
    lost: bool = False  # whether it ended because a process was restarted, not by its own doing


@dataclass(frozen=True)
class Node:
    """A registered node."""

    number: int
    market: str | None  # None where its key is that of no market here
    status: str


@dataclass(frozen=True)
class Admitted:
    """What changed when nodes were let in: markets that are now, and numbers of nodes that no more are."""

    added: list[str]
    removed: list[int]
    online: int  # markets whose node is there
    offline: int


@dataclass(frozen=True)
class Connection:
    """A SuperLink, and the markets that may take part: their public node keys by name."""

    path: Path
    address: str
    authority: Path
    runs: Path
    secret: Path  # what the coordinator shares with its SuperLink
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
        keys = Path(os.environ.get(KEYS) or folder / found.keys)
        markets = {market_name(key.stem, str(key)): key for key in sorted(keys.glob("*.pub"))}
        if not markets:
            raise UserError(f"{keys}: no market's public key (NAME.pub); copy keys/ from the deployment")
        runs = Path(os.environ.get(RUNS) or folder / found.runs).resolve()  # the run's own process goes by it too
        return cls(path, found.address, folder / found.authority, runs, folder / found.secret, markets)

    def keys(self) -> dict[str, str]:
        """The markets' public keys (PEM) by name; raises :class:`UserError` where two have the same."""
        found: dict[str, str] = {}
        for market, path in self.markets.items():
            pem = public_pem(path)
            same = next((other for other, known in found.items() if known == pem), None)
            if same is not None:
                raise UserError(f"{path}: the same key as {same}.pub; each market has its own")
            found[market] = pem
        return found

    @contextmanager
    def control(self) -> Iterator["Control"]:
        """Talk to the SuperLink."""
        certificate, secret = self._read("authority", self.authority), self._read("secret", self.secret)
        try:
            client = ControlHttpClient.from_server_address(
                server_address=self.address,
                insecure=False,
                root_certificates=certificate,
                interceptors=[
                    RuntimeVersionHttpInterceptor(component_name="fedrec"),
                    ControlTokenInterceptor(control_token(secret)),
                ],
            )
        except ValueError:  # ssl.SSLError among them
            raise UserError(f"{self.authority}: no certificate; copy it from the deployment") from None
        try:
            yield Control(client, self)
        finally:
            client.close()

    def _read(self, key: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: {key} {path}: {error.strerror}; copy it from the deployment") from None


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
            details = "the SuperLink was restarted and knows it no more"
            return RunStatus(ended=True, completed=False, details=details, lost=True)
        details = str(status.details)
        return RunStatus(status.status == _ENDED, status.sub_status == "completed", details, details == _SILENT)

    def stop_unanswered(self, name: str) -> None:
        """Stop runs of this name: one that the SuperLink took on, and whose number was lost on the way back."""
        for number, run in self._ask("ListRuns", ListRunsRequest()).run_dict.items():
            if run.status.status != _ENDED and run.override_config["run"].string == name:
                self.stop(number)

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

    def admit(self, lasting: Callable[[int], bool]) -> Admitted:
        """Let in the nodes of the connection's markets and no others; those that are in already stay.

        ``lasting``: whether a node whose key is that of no market here has been so for long enough to be put out.
        """
        nodes = self.nodes()
        strangers = [node.number for node in nodes if node.market is None and lasting(node.number)]
        for number in strangers:
            self._ask("UnregisterNode", UnregisterNodeRequest(node_id=number))
        known = {node.market for node in nodes}
        missing = {market: key for market, key in self._connection.keys().items() if market not in known}
        for market, key in missing.items():
            self._ask("RegisterNode", RegisterNodeRequest(public_key=key.encode(), name=market))
        online = sum(node.status == "online" for node in nodes if node.market is not None)
        return Admitted([*missing], strangers, online, len(self._connection.markets) - online)

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
