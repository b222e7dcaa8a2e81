"""``fedrec deploy check``: everything that can be seen to be wrong before a run, each with what to do."""

import os
import socket
import ssl
import stat
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fedrec.data.store import open_store
from fedrec.deployment.bundle import own_bundle, read_approved
from fedrec.deployment.certificates import (
    days_left,
    private_matches,
    problem_of_dates,
    problem_of_server,
    public_key,
    read_certificate,
)
from fedrec.deployment.connection import Connection
from fedrec.deployment.layout import SUPERLINK_PORT, CoordinatorPart, DeploymentFolder, MarketPart, Part
from fedrec.errors import UserError

_SOON_DAYS = 30
_VERSIONS = {"flwr": "1.41.0"}  # our adapters know this one alone
_CONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``level``: ok, warn, fail."""

    level: str
    what: str
    remedy: str = ""


def parts_of(path: Path) -> list[CoordinatorPart | MarketPart]:
    """The parts that lie in a folder, or the one that it is; raises :class:`UserError` where there is none."""
    folder = DeploymentFolder(path)
    parts: list[CoordinatorPart | MarketPart] = [*folder.markets]
    if folder.coordinator.path.is_dir():
        parts.append(folder.coordinator)
    if not parts and CoordinatorPart(path).connection.is_file():
        parts = [CoordinatorPart(path)]
    if not parts and MarketPart(path).identity.is_file():
        parts = [MarketPart(path)]
    if not parts:
        raise UserError(f"{path}: neither a deployment nor one host's part of it; make one with `fedrec deploy init`")
    return parts


def check_folder(path: Path, now: datetime | None = None) -> list[Finding]:
    """Look at a whole deployment or at one host's part. Raises :class:`UserError` for a folder that is neither."""
    findings = _versions()
    for part in parts_of(path):
        try:
            findings += _part(part, now)
        except OSError as error:
            findings.append(Finding("fail", f"{error.filename}: {error.strerror}", "copy this host's part again"))
        except UserError as error:
            findings.append(Finding("fail", str(error)))
    return findings


def _versions() -> list[Finding]:
    found = []
    for package, wanted in _VERSIONS.items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            installed = "missing"
        good = installed == wanted
        remedy = "" if good else f"install {package}=={wanted}"
        found.append(Finding("ok" if good else "fail", f"{package} {installed}", remedy))
    return found


def _part(part: CoordinatorPart | MarketPart, now: datetime | None) -> list[Finding]:
    findings = [_dates(part.authority, now), _modes(part)]
    if _setting(part.environment, "FEDREC_UID") == "0":
        findings.append(
            Finding("fail", f"{part.environment}: FEDREC_UID=0 runs containers as root", "name another user")
        )
    hosts = ["127.0.0.1"] if isinstance(part, CoordinatorPart) else ["node", f"node-{part.name}"]
    problem = problem_of_server(part.certificate, part.key, part.authority, hosts, now)
    if problem is not None:
        findings.append(Finding("fail", f"{part.certificate}: {problem}", "make it again: fedrec deploy renew DIR"))
    else:
        findings.append(_dates(part.certificate, now))
    approved = read_approved(part.approved)
    if own_bundle().hash in approved:
        findings.append(Finding("ok", f"{part.approved}: approves the bundle of the version installed here"))
    else:
        remedy = f"fedrec deploy approve {part.path}"
        findings.append(Finding("warn", f"{part.approved}: does not approve the bundle of the version here", remedy))
    if isinstance(part, CoordinatorPart):
        return findings + _coordinator(part)
    return findings + _market(part)


def _coordinator(part: CoordinatorPart) -> list[Finding]:
    findings = []
    for market, key in Connection.open(str(part.path)).markets.items():
        public_key(key)
        findings.append(Finding("ok", f"market {market}: public key {key}"))
    return [*findings, _superlink("127.0.0.1", SUPERLINK_PORT, part.authority)]


def _market(part: MarketPart) -> list[Finding]:
    name = part.name
    public = part.keys / f"{name}.pub"
    if private_matches(part.identity, public):
        findings = [Finding("ok", f"{part.identity}: fits {public}")]
    else:
        findings = [Finding("fail", f"{part.identity}: does not fit {public}", "put the pair back, or rotate the key")]
    findings += _readable(part)
    try:
        store = open_store(part.data)
        if store.name != name:
            remedy = "put the right market's store there"
            findings.append(Finding("fail", f"{part.data}: holds market {store.name!r}, not {name!r}", remedy))
        else:
            findings.append(Finding("ok", f"{part.data}: {store.users} users, {store.items} items"))
    except UserError as error:
        findings.append(Finding("warn", str(error), f"import this market's data, then put its store into {part.data}"))
    if not os.access(part.state, os.W_OK):
        findings.append(Finding("fail", f"{part.state}: cannot be written", "give it to the user of the containers"))
    superlink = _setting(part.environment, "FEDREC_SUPERLINK")
    if superlink is not None:
        host, _, port = superlink.rpartition(":")
        if not host or not port.isdecimal():
            return [*findings, Finding("fail", f"{part.environment}: FEDREC_SUPERLINK={superlink}", "write HOST:PORT")]
        findings.append(_superlink(host, int(port), part.authority))
    return findings


def _readable(part: MarketPart) -> list[Finding]:
    """Whether the containers' user may read the data, whoever looks: by owner, group and modes."""
    user, group = (_setting(part.environment, key) for key in ("FEDREC_UID", "FEDREC_GID"))
    if user is None or group is None or not (user + group).isdecimal():
        return []
    for path in (part.data, *sorted(part.data.rglob("*"))):
        found = path.stat()
        shift = 6 if found.st_uid == int(user) else 3 if found.st_gid == int(group) else 0
        needed = 0o5 if path.is_dir() else 0o4
        if (found.st_mode >> shift) & needed != needed:
            remedy = f"chown -R {user}:{group} {part.data}"
            return [Finding("fail", f"{path}: user {user} of the containers cannot read it", remedy)]
    return [Finding("ok", f"{part.data}: user {user} of the containers can read it")]


def _dates(path: Path, now: datetime | None) -> Finding:
    certificate = read_certificate(path)
    problem = problem_of_dates(certificate, now)
    if problem is not None:
        return Finding("fail", f"{path}: {problem}", "make it again: fedrec deploy renew DIR")
    days = days_left(certificate, now)
    if days < _SOON_DAYS:
        return Finding("warn", f"{path}: expires in {days} days", "make it again: fedrec deploy renew DIR")
    return Finding("ok", f"{path}: valid for {days} days")


def _modes(part: Part) -> Finding:
    for path in part.secrets:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            return Finding("fail", f"{path}: mode {mode:04o}, others can read it", f"chmod 600 {path}")
    return Finding("ok", f"{part.path}: {len(part.secrets)} private files, readable by their owner alone")


def _superlink(host: str, port: int, authority: Path) -> Finding:
    """Whether a SuperLink answers there that this host would believe."""
    try:
        context = ssl.create_default_context(cafile=str(authority))
        with (
            socket.create_connection((host, port), _CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return Finding("ok", f"{host}:{port}: a SuperLink of this authority answers")
    except ssl.SSLCertVerificationError as error:
        remedy = "carry ca.crt and server.crt of one deployment to both hosts"
        return Finding("fail", f"{host}:{port}: {error.verify_message}", remedy)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Finding(
            "warn", f"{host}:{port}: {reason}", "start the coordinator's containers; open the port to the markets"
        )


def _setting(path: Path, key: str) -> str | None:
    if not path.is_file():
        return None
    lines = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), None)
