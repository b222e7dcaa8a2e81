"""``fedrec deploy init``: every key, certificate and file of a new deployment; and what changes in one later."""

import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from fedrec.deployment.certificates import Authority, public_key, server_names
from fedrec.deployment.compose import coordinator_compose, gpu_compose, market_compose, whole_compose
from fedrec.deployment.layout import SUPERLINK_PORT, DeploymentFolder, MarketPart, Part
from fedrec.errors import UserError
from fedrec.files import market_name, new_folder, read_json, write_atomic, write_json
from fedrec.masking.identity import write_identity
from fedrec.masking.protocol import default_threshold
from fedrec.recipe import MasksSettings
from fedrec.strict_yaml import dump_yaml
from fedrec.version import VERSION

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
IMAGE_USER = 10001  # of the image; root's own files are given to it, for no container runs as root
_LOCAL = ["localhost", "127.0.0.1", "::1"]
_SUPERLINK = "superlink"  # its name among the coordinator's containers


def create_deployment(directory: Path, markets: Sequence[str], host: str | None, masks: bool) -> DeploymentFolder:
    """A new deployment's folder; one that exists and is not empty is refused.

    ``host``: the name or address under which the markets' hosts reach the coordinator's; without it all parts are for
    one machine. ``masks``: the markets take part in masked sums only.
    """
    if host is not None and not _HOST.fullmatch(host):
        raise UserError(f"--host {host!r}: give a name or an IPv4 address alone, without port")
    names = sorted({market_name(market, "--markets") for market in markets})
    if not names:
        raise UserError("--markets: names no market; write them as jp,in,fr")
    if len(names) < len(markets):
        raise UserError(f"--markets {','.join(markets)}: a market is named twice; name each once")
    with new_folder(directory) as scratch:
        folder = DeploymentFolder(scratch)
        authority = Authority.create(f"fedrec {directory.name}")
        folder.authority.parent.mkdir(mode=0o700)
        write_json(folder.settings, {"host": host, "masks": masks})
        authority.write(folder.authority, folder.authority_key)
        _coordinator(folder, authority, host)
        for name in names:
            _market(folder.market(name), authority, folder, host, names if masks else None)
        for part in folder.markets:
            shutil.copytree(folder.coordinator.keys, part.keys)
        _whole(folder, host, masks)
        _give_away(scratch)
    return DeploymentFolder(directory)


def add_market(directory: Path, market: str) -> MarketPart:
    """A part for one more market, signed by the same authority. Parts of others get its public key; copy it to them."""
    folder = DeploymentFolder(directory)
    settings = read_json(folder.settings)
    host, masks = settings["host"], bool(settings["masks"])
    part = folder.market(market_name(market, "--market"))
    if part.path.exists():
        raise UserError(f"{part.path}: exists; choose another name or remove it")
    authority = Authority.read(folder.authority, folder.authority_key)
    names = sorted({market, *(other.name for other in folder.markets)})
    _market(part, authority, folder, host, names if masks else None)
    shutil.copytree(folder.coordinator.keys, part.keys)
    announce_key(folder, market)
    _whole(folder, host, masks)
    _give_away(directory)
    return part


def rotate_key(directory: Path, market: str) -> MarketPart:
    """A fresh node key for a market; the old one is kept beside it until the new one is registered."""
    folder = DeploymentFolder(directory)
    part = folder.market(market_name(market, "--market"))
    if not part.identity.is_file():
        raise UserError(f"{part.identity}: not there; `fedrec deploy init` makes it")
    part.identity.replace(part.identity.with_suffix(".old"))
    public = folder.coordinator.keys / f"{market}.pub"
    public.unlink(missing_ok=True)
    write_identity(part.identity, public)
    announce_key(folder, market)
    _give_away(directory)
    return part


def renew_certificates(directory: Path) -> list[Path]:
    """Fresh server certificates, under the names they had, for every part here; returns their paths."""
    folder = DeploymentFolder(directory)
    authority = Authority.read(folder.authority, folder.authority_key)
    parts = [folder.coordinator, *folder.markets]
    for part in parts:
        authority.issue(server_names(part.certificate), part.certificate, part.key)
    _give_away(directory)
    return [part.certificate for part in parts]


def announce_key(folder: DeploymentFolder, market: str) -> None:
    """Give every part here a market's public key; in the coordinator's part it says that the market is let in."""
    source = folder.coordinator.keys / f"{market}.pub"
    public_key(source)
    for part in folder.markets:
        if part.keys.is_dir():
            write_atomic(part.keys / source.name, source.read_bytes())


def _coordinator(folder: DeploymentFolder, authority: Authority, host: str | None) -> None:
    part = folder.coordinator
    _part(part, authority, [host or _SUPERLINK, _SUPERLINK, *_LOCAL], folder)
    part.runs.mkdir()
    part.keys.mkdir()
    description = {
        "address": f"{_SUPERLINK}:{SUPERLINK_PORT}",
        "authority": part.authority.name,
        "secret": part.secret.name,
        "runs": part.runs.name,
        "keys": part.keys.name,
    }
    write_atomic(part.connection, dump_yaml(description).encode())
    if host is not None:
        write_atomic(part.compose, coordinator_compose(".").encode())
        _environment(part.environment, {})


def _market(
    part: MarketPart, authority: Authority, folder: DeploymentFolder, host: str | None, masked: list[str] | None
) -> None:
    """``masked``: the markets whose sums it may take part in, where it does so under masks alone."""
    _part(part, authority, [f"node-{part.name}", "node", *_LOCAL], folder)
    write_identity(part.identity, folder.coordinator.keys / f"{part.name}.pub")
    for path in (part.data, part.state):
        path.mkdir()
    if host is not None:
        write_atomic(part.compose, market_compose(".", part.name, masked is not None).encode())
        write_atomic(part.gpu_compose, gpu_compose().encode())
        _environment(part.environment, {"FEDREC_SUPERLINK": f"{host}:{SUPERLINK_PORT}", **_least(masked)})


def _whole(folder: DeploymentFolder, host: str | None, masks: bool) -> None:
    """The compose file of all parts, where they are for one machine."""
    if host is None:
        write_atomic(folder.compose, whole_compose(".", [part.name for part in folder.markets], masks).encode())
        if not folder.environment.is_file():
            _environment(folder.environment, _least([part.name for part in folder.markets] if masks else None))


def _least(masked: list[str] | None) -> dict[str, str]:
    """How many markets must be in a sum: what recipes ask for by themselves, but this no coordinator can change."""
    if masked is None:
        return {}
    return {"FEDREC_MIN_MARKETS": str(default_threshold(MasksSettings().threshold, len(masked)))}


def _part(part: Part, authority: Authority, hosts: list[str], folder: DeploymentFolder) -> None:
    """What every host has."""
    part.path.mkdir(parents=True, mode=0o700)
    shutil.copyfile(folder.authority, part.authority)
    authority.issue(list(dict.fromkeys(hosts)), part.certificate, part.key)
    write_atomic(part.secret, secrets.token_hex(32).encode(), mode=0o600)
    part.approved.parent.mkdir()
    write_atomic(part.approved, b"")


def _give_away(folder: Path) -> None:
    """What root made here belongs to the image's user, but for the authority.

    Not what lies below ``data``, ``state`` and ``runs``: others write there, and root follows no link of theirs.
    """
    if os.getuid() == 0:
        made = DeploymentFolder(folder)
        for part in (made.coordinator, *made.markets):
            entries = [part.path, *part.path.iterdir(), *part.keys.iterdir(), *part.approved.parent.iterdir()]
            for entry in entries:
                os.chown(entry, IMAGE_USER, IMAGE_USER, follow_symlinks=False)


def _environment(path: Path, values: dict[str, str]) -> None:
    """Owner of the files, so that containers can read keys that nobody else can."""
    user, group = (os.getuid(), os.getgid()) if os.getuid() else (IMAGE_USER, IMAGE_USER)
    given = {"FEDREC_VERSION": VERSION, "FEDREC_UID": user, "FEDREC_GID": group, **values}
    write_atomic(path, "".join(f"{key}={value}\n" for key, value in given.items()).encode())
