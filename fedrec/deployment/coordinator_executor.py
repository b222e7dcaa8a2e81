"""The coordinator's executor: a process for every run that the SuperLink has accepted."""

import json
import os
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flwr.supercore.constant import TaskType

from fedrec.deployment import coordinator_worker
from fedrec.deployment.bundle import read_approved
from fedrec.deployment.runtime_api import RuntimeApi, pass_on, python, say
from fedrec.errors import UserError

_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class _Run:
    """A run's process, and where its bundle is unpacked."""

    process: subprocess.Popen[bytes]
    unpacked: tempfile.TemporaryDirectory[str]


class CoordinatorExecutor:
    """Starts a process for every run that the SuperLink has accepted."""

    task_type = TaskType.SERVER_APP

    def __init__(self, api: RuntimeApi, approved: Path, folder: Path) -> None:
        self._api = api
        self._approved = approved
        self._folder = folder
        self._runs: list[_Run] = []

    def execute(self, token: str) -> None:
        """Start the run of one token."""
        for ended in [run for run in self._runs if run.process.poll() is not None]:
            ended.unpacked.cleanup()
            self._runs.remove(ended)
        try:
            approved = sorted(read_approved(self._approved))
        except UserError as error:
            say(str(error))
            approved = []  # so that the run ends and says that its bundle is not approved
        told = {
            "address": self._api.address,
            "root_certificates": str(self._api.root_certificates),
            "token": token,
            "control_token": self._api.token,
            "approved": approved,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        unpacked = tempfile.TemporaryDirectory(dir=self._folder)
        # Where Flower unpacks bundles; and its level, for its lines are details where ours say what happens.
        environment = {**os.environ, "FLWR_HOME": unpacked.name, "FLWR_LOG_LEVEL": "WARNING"}
        command = python(coordinator_worker.__file__)
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)  # noqa: S603
        self._runs.append(_Run(process, unpacked))
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a run without standard input or output")
        pass_on(process.stdout)
        with process.stdin as stream:
            stream.write(json.dumps(told).encode())

    def stop(self) -> None:
        """End what runs; Flower's runtime tells the SuperLink."""
        for run in self._runs:
            run.process.terminate()
        until = time.monotonic() + _STOP_SECONDS
        for run in self._runs:
            with suppress(subprocess.TimeoutExpired):
                run.process.wait(max(0.1, until - time.monotonic()))
