"""A real container engine, an image of the working tree, and compose projects of it; skipped loudly without one."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fedrec.files import read_json_lines

ROOT = Path(__file__).parents[2]
RUN = ["fedrec", "run", "fecosr", "--engine", "deploy", "--connection", "/deployment"]  # in the coordinator's network
IMAGE = "fedrec:test"
_TOOL = Path(os.environ.get("FEDREC_SHARED", str(ROOT.parent / "shared"))) / "tools" / "container-engine"


def run(*words: str | Path, seconds: float = 300, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command, its output as text."""
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=seconds, check=False, **more
    )


@contextmanager
def engine() -> Iterator[dict[str, str]]:
    """What a build needs in its environment; starts an engine where a tool for that lies beside the checkout.

    One that was started here is stopped at the end. Skips the tests where there is no engine and none can be started.
    """
    there = shutil.which("docker") is not None and run("docker", "info").returncode == 0
    if not (_TOOL.is_file() and os.geteuid() == 0):
        if not there:
            pytest.skip("no container engine here: images are not built and containers not started")
        yield {**os.environ}
        return
    try:
        started = run(_TOOL, "up", seconds=900, cwd=ROOT)
    except subprocess.TimeoutExpired:
        pytest.skip("no container engine can be started here: it took more than 900 s")
    if started.returncode:
        pytest.skip(f"no container engine can be started here: {started.stderr.strip()[-300:]}")
    words = re.findall(r"(\w+)=(\S+)", run(_TOOL, "env").stdout)
    try:
        yield {**os.environ, **dict(words)}
    finally:
        if not there:
            run(_TOOL, "down", seconds=120)


def copy_of_tree(directory: Path) -> Path:
    """What a clean clone would hold, with changes that are not committed yet."""
    names = run("git", "ls-files", "-coz", "--exclude-standard", cwd=ROOT).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    return directory


@dataclass
class Project:
    """One compose project."""

    name: str
    folder: Path
    environment: Mapping[str, str]
    file: str = "docker-compose.yml"

    def words(self, *words: str) -> list[str]:
        return ["docker", "compose", "-p", self.name, "-f", str(self.folder / self.file), *words]

    def compose(self, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """`docker compose ...`, to its end."""
        return run(*self.words(*words), seconds=seconds, cwd=self.folder, env=dict(self.environment))

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """The same in the background, standard error with standard output."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.words(*words),
            cwd=self.folder,
            env=dict(self.environment),
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def inside(self, service: str, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """A command in a running container."""
        return self.compose("exec", "-T", service, *words, seconds=seconds)

    def python(self, service: str, code: str, *words: str) -> str:
        """Some Python in a running container; what it prints."""
        result = self.inside(service, "python", "-c", code, *words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        identifier = self.compose("ps", "-aq", service).stdout.strip()
        (found,) = json.loads(run("docker", "inspect", identifier).stdout)
        container: dict[str, Any] = found
        return container

    def kill(self, service: str) -> None:
        """SIGKILL for the container's first process. Not `docker kill`, after which no restart policy applies."""
        os.kill(self.inspect(service)["State"]["Pid"], signal.SIGKILL)

    def healthy(self, service: str) -> bool:
        return bool(self.inspect(service)["State"].get("Health", {}).get("Status") == "healthy")

    def services(self) -> list[str]:
        """Those that stay up: all but the demonstration's one run."""
        return [name for name in self.compose("config", "--services").stdout.split() if name != "run"]

    def start(self) -> None:
        """All that stays up, to health."""
        started = self.compose("up", "-d", "--no-build", *self.services())
        assert started.returncode == 0, started.stderr
        self.wait_for_health()

    def wait_for_health(self, seconds: float = 90) -> None:
        for service in self.services():
            self.wait(lambda name=service: self.healthy(name), f"{service} to be healthy", seconds)  # type: ignore[misc]

    def lead(self, name: str, settings: list[str]) -> subprocess.Popen[str]:
        """A run led from a container of its own, which nobody kills."""
        words = [word for setting in settings for word in ("--set", setting)]
        return self.popen("run", "-T", "--rm", "--no-deps", "run", *RUN, "--out", f"/deployment/runs/{name}", *words)

    def wait(self, happened: Callable[[], object], what: str, seconds: float = 90) -> float:
        """Seconds until something is so."""
        began = time.monotonic()
        while not happened():
            assert time.monotonic() - began < seconds, f"waited {seconds} s for {what}\n{self.logs()}"
            time.sleep(0.3)
        return time.monotonic() - began

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--tail", "30").stdout

    def said(self, service: str) -> str:
        """What a container has printed, without what compose adds to it."""
        result = run("docker", "logs", self.inspect(service)["Id"])
        return result.stdout + result.stderr

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        """Events of one kind of a run so far."""
        return [event for event in self.all_events(name) if event["event"] == kind]

    def all_events(self, name: str) -> list[dict[str, Any]]:
        """Events of a run so far, from the demonstration's volume: also while no container is up."""
        (volume,) = json.loads(run("docker", "volume", "inspect", f"{self.name}_made").stdout)
        return read_json_lines(Path(volume["Mountpoint"]) / "coordinator" / "runs" / name / "events.jsonl")

    def summary(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.inside("coordinator", "cat", f"/deployment/runs/{name}/summary.json").stdout
        )
        return found


@contextmanager
def project(project: Project) -> Iterator[Project]:
    """A compose project that is gone at the end, volumes and networks included."""
    try:
        yield project
    finally:
        project.compose("down", "-v", "--timeout", "3", "--remove-orphans")


@dataclass
class Watch:
    """Looks at the memory of a project's containers until it is told to stop."""

    project: str
    most: dict[str, float] = field(default_factory=dict)  # MB, by service
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _look(self) -> None:
        units = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0, "B": 0.0}
        while not self._ended.wait(1.0):
            for line in run(
                "docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"
            ).stdout.splitlines():
                found = re.match(rf"{re.escape(self.project)}-(\S+)-\d+ ([\d.]+)(\w+) ", line)
                if found and found[3] in units:
                    used = float(found[2]) * units[found[3]]
                    self.most[found[1]] = max(self.most.get(found[1], 0.0), used)
