"""A deployment that really runs: its compose files' commands, as processes in namespaces instead of containers.

Commands, environment, mounts and secrets are read from the files that `fedrec deploy init` writes; only the paths
inside a container are replaced by those of the host's part.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from fedrec.data.store import open_store
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.deployment.alive import VARIABLE
from fedrec.deployment.bundle import Bundle, own_bundle
from fedrec.deployment.bundle import approve as approve_bundle
from fedrec.deployment.create import create_deployment
from fedrec.deployment.layout import CoordinatorPart, DeploymentFolder, MarketPart, Part
from fedrec.files import read_json_lines
from fedrec.offline import OFFLINE
from tests.deployment.network import Network, network

ROOT = Path(__file__).parents[2]
ADDRESS = "10.77.0.{}"
COORDINATOR = ADDRESS.format(1)
_START_SECONDS = 60
_STOP_SECONDS = 10


@dataclass
class Host:
    """One host: a namespace, a part of the deployment, and the processes that run there."""

    namespace: str
    part: Part
    scratch: Path
    extra: dict[str, list[str]] = field(default_factory=dict)  # more arguments, by service
    more: dict[str, str] = field(default_factory=dict)  # environment
    programs: dict[str, str] = field(default_factory=dict)  # others in place of the compose file's modules, by service
    restarting: set[str] = field(default_factory=set)  # services that come back, as `restart: unless-stopped` says
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, service: str) -> None:
        """Start one service of the host's compose file."""
        content = yaml.safe_load(self.part.compose.read_text())["services"][service]
        arguments = [self._here(word, content) for word in content["command"][3:]] + self.extra.get(service, [])
        module = ["-m", content["command"][2]]
        program = [self.programs[service]] if service in self.programs else [sys.executable, *module]
        environment = {key: self._here(value, content) for key, value in content.get("environment", {}).items()}
        folder = self.scratch / service
        folder.mkdir(parents=True, exist_ok=True)
        environment[VARIABLE] = str(folder / "alive")
        (folder / "alive").unlink(missing_ok=True)
        with self.log(service).open("ab") as log:
            self.processes[service] = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *program, *arguments],
                env=self.environment(service) | environment,
                cwd=folder,
                stdout=log,
                stderr=log,
            )

    def run(self, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """A `fedrec` command on this host."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-m", "fedrec.cli.main", *words]
        result = subprocess.run(
            command, env=self.environment("cli"), capture_output=True, text=True, timeout=seconds, check=False
        )
        with self.log("cli").open("a") as log:
            log.write(result.stdout + result.stderr)
        return result

    def python(self, code: str, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Some Python on this host."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", code, *words]
        return subprocess.run(
            command, env=self.environment("cli"), capture_output=True, text=True, timeout=seconds, check=False
        )

    def popen(self, *words: str, bundle: Path | None = None) -> subprocess.Popen[str]:
        """A `fedrec` command on this host, in the background; with another bundle than the installed version's."""
        module = ["fedrec.cli.main"] if bundle is None else ["tests.deployment.submit", str(bundle)]
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-m", *module, *words]
        return subprocess.Popen(
            command,
            env=self.environment("cli") | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def environment(self, service: str) -> dict[str, str]:
        """As in the image: nothing of this machine's, no home but a scratch folder."""
        scratch = str(self.scratch / service)
        own = {"HOME": scratch, "FLWR_HOME": f"{scratch}/flwr", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
        return kept | OFFLINE | own | self.more

    def kill(self, service: str) -> None:
        """SIGKILL."""
        process = self.processes[service]
        process.kill()
        process.wait()

    def kill_worker(self) -> None:
        """SIGKILL for the process that runs the bundle's code, not for the executor that started it."""
        (worker,) = psutil.Process(self.processes["market"].pid).children()
        worker.kill()

    def keep_up(self) -> None:
        """Restart what is down and should not be."""
        for service in self.restarting:
            if service in self.processes and self.processes[service].poll() is not None:
                self.start(service)

    def stop(self) -> None:
        """End all processes, politely first."""
        running = [process for process in self.processes.values() if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + _STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, service: str) -> Path:
        return self.scratch / f"{service}.log"

    def _here(self, word: str, content: dict[str, Any]) -> str:
        """A word of the compose file with its variables filled in and its paths on this host."""
        lines = (line.partition("=") for line in self.part.environment.read_text().splitlines())
        values = {name: value for name, _, value in lines}
        word = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: values.get(found[1]) or found[2], word)
        paths = {"/tmp/bundles": str(self.scratch / "bundles")}
        paths |= {f"/run/secrets/{one['target']}": str(self.part.path / one["target"]) for one in content["secrets"]}
        for volume in content.get("volumes", []):
            source, target = volume.split(":")[:2]
            named = "/" not in source  # a volume of the engine's
            paths[target] = str((self.scratch / source) if named else (self.part.path / source).resolve())
            if named:
                (self.scratch / source).mkdir(exist_ok=True)
        if isinstance(self.part, CoordinatorPart):
            paths["/deployment"] = str(self.part.path)
        if isinstance(self.part, MarketPart):  # a node passes on what its executor is to read
            paths |= {"/data": str(self.part.data), "/state": str(self.part.state), "/keys": str(self.part.keys)}
        for inside in sorted(paths, key=len, reverse=True):
            word = re.sub(rf'(?<![\w.]){re.escape(inside)}(?=["/]|$)', paths[inside], word)
        return word


@dataclass
class Deployment:
    """A coordinator and its markets."""

    folder: DeploymentFolder
    coordinator: Host
    markets: dict[str, Host]
    network: Network
    data: Path  # a copy of all markets' stores, for comparing
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Everything, in an order that no process relies on."""
        threading.Thread(target=self._keep_up, daemon=True).start()
        for host, services in [(one, ("market", "node")) for one in self.markets.values()] + [
            (self.coordinator, ("coordinator", "superlink"))
        ]:
            for service in services:
                host.start(service)
            host.restarting |= set(services)
        self.wait_for_superlink()

    def _keep_up(self) -> None:
        """What a container engine does about containers that ended."""
        while not self._ended.wait(1.0):
            for host in (self.coordinator, *self.markets.values()):
                host.keep_up()

    def stop(self) -> None:
        self._ended.set()
        for host in (*self.markets.values(), self.coordinator):
            host.restarting.clear()
            host.stop()

    def approve(self, bundle: Bundle) -> None:
        """Every operator allows it."""
        for host in (self.coordinator, *self.markets.values()):
            approve_bundle(host.part.approved, bundle, "a test's")

    def submit(self, bundle: Path, recipe: str, name: str, *words: str) -> subprocess.Popen[str]:
        """`fedrec run` on the coordinator's host, with another bundle, in the background."""
        return self.coordinator.popen(*self.run_words(recipe, name, *words), bundle=bundle)

    def wait_for_superlink(self) -> None:
        self.wait_for(lambda: self.healthy(self.coordinator, "superlink"), "the SuperLink to be up")

    def run(self, recipe: str, name: str, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """`fedrec run` on the coordinator's host."""
        return self.coordinator.run(*self.run_words(recipe, name, *words), seconds=seconds)

    def run_words(self, recipe: str, name: str, *words: str) -> list[str]:
        part = CoordinatorPart(self.coordinator.part.path)
        out = ["--engine", "deploy", "--connection", str(part.path), "--out", str(part.runs / name)]
        return ["run", recipe, *out, *words]

    def run_folder(self, name: str) -> Path:
        return CoordinatorPart(self.coordinator.part.path).runs / name

    def wait_for(self, happened: Callable[[], object], what: str, seconds: float = _START_SECONDS) -> None:
        until = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < until, f"waited {seconds} s for {what}\n{self.logs()}"
            time.sleep(0.1)

    @staticmethod
    def healthy(host: Host, service: str) -> bool:
        """By the health check of the compose file."""
        check = yaml.safe_load(host.part.compose.read_text())["services"][service]["healthcheck"]["test"]
        words = check[-1].replace("$$", "$").replace("/tmp/alive", str(host.scratch / service / "alive"))
        return subprocess.run(["sh", "-c", words], check=False).returncode == 0

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        """Events of a run so far."""
        lines = read_json_lines(self.run_folder(name) / "events.jsonl")
        return [line for line in lines if line["event"] == kind]

    def left_the_markets(self) -> str:
        """All texts on the coordinator's host: what its processes and commands said, and the files of its runs."""
        paths = list(self.coordinator.scratch.glob("*.log"))
        runs = CoordinatorPart(self.coordinator.part.path).runs
        paths += [path for path in runs.rglob("*") if path.suffix in {".json", ".jsonl", ".yaml"}]
        return "\n".join(path.read_text(errors="replace") for path in sorted(paths))

    def assert_no_user_is_named(self) -> None:
        whole = self.left_the_markets()
        for host in self.markets.values():
            users = open_store(MarketPart(host.part.path).data).interactions["user_id"].unique()
            named = [user for user in users if user in whole]
            assert not named, f"{named[:3]} are named on the coordinator's host"

    def logs(self) -> str:
        hosts = {"coordinator": self.coordinator, **self.markets}
        return "\n".join(
            f"=== {name} {path.name}\n{path.read_text(errors='replace')[-2500:]}"
            for name, host in hosts.items()
            for path in sorted(host.scratch.glob("*.log"))
        )


@contextmanager
def deployment(
    directory: Path, settings: SynthSettings, approve: bool = True, masks: bool = False
) -> Iterator[Deployment]:
    """A deployment of synthetic markets; nothing of it runs yet."""
    write_synthetic_markets(directory / "data", settings)
    shutil.copytree(directory / "data", directory / "copy")
    folder = create_deployment(directory / "deployment", settings.markets, COORDINATOR, masks)
    with network() as net:
        names = {"superlink": COORDINATOR}
        coordinator = Host(net.join("coordinator", COORDINATOR, names), folder.coordinator, directory / "coordinator")
        markets = {}
        for number, part in enumerate(folder.markets, start=11):
            part.data.rmdir()
            (directory / "data" / part.name).rename(part.data)
            local = {"node": "127.0.0.1", **names}
            namespace = net.join(part.name, ADDRESS.format(number), local)
            markets[part.name] = Host(namespace, part, directory / part.name)
        made = Deployment(folder, coordinator, markets, net, directory / "copy")
        for host in [coordinator, *markets.values()]:
            host.scratch.mkdir(parents=True, exist_ok=True)
            if approve:
                approve_bundle(host.part.approved, own_bundle(), "the installed version")
        try:
            yield made
        finally:
            made.stop()
        made.assert_no_user_is_named()  # whatever the test was about
