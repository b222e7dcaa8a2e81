"""Hosts on this machine: a network namespace each, with an address of its own, on one switch."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = Path("/etc/netns")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


def need_namespaces() -> None:
    """Skip loudly where namespaces cannot be made."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces: need root and iproute2")
    probe = f"fedrec-{uuid.uuid4().hex[:8]}"
    try:
        _ip("netns", "add", probe)
        try:
            _ip("-n", probe, "link", "add", "bridge0", "type", "bridge")
            _ip("-n", probe, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        finally:
            _ip("netns", "delete", probe)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"network namespaces: cannot be made here ({error})")


@dataclass
class Network:
    """A switch; every host that joins gets a namespace."""

    name: str

    def join(self, host: str, address: str, names: dict[str, str]) -> str:
        """Namespace of a new host; ``names`` are what it can resolve, addresses by name."""
        namespace = f"{self.name}-{host}"
        inside, outside = f"v{uuid.uuid4().hex[:10]}", f"w{uuid.uuid4().hex[:10]}"
        folder = NAMES / namespace
        folder.mkdir(parents=True)
        known = {"localhost": "127.0.0.1", **names}
        (folder / "hosts").write_text("".join(f"{where} {name}\n" for name, where in known.items()))
        _ip("netns", "add", namespace)
        _ip("link", "add", inside, "netns", namespace, "type", "veth", "peer", "name", outside, "netns", self.switch)
        _ip("-n", self.switch, "link", "set", outside, "master", "switch", "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", inside)
        _ip("-n", namespace, "link", "set", inside, "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        return namespace

    @property
    def switch(self) -> str:
        return f"{self.name}-switch"

    def remove(self) -> None:
        for folder in NAMES.glob(f"{self.name}-*"):
            subprocess.run(["ip", "netns", "delete", folder.name], check=False, capture_output=True)
            shutil.rmtree(folder)
        subprocess.run(["ip", "netns", "delete", self.switch], check=False, capture_output=True)


@contextmanager
def network() -> Iterator[Network]:
    need_namespaces()
    made = Network(f"fedrec-{uuid.uuid4().hex[:6]}")
    _ip("netns", "add", made.switch)
    try:
        _ip("-n", made.switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", made.switch, "link", "set", "switch", "up")
        yield made
    finally:
        made.remove()
