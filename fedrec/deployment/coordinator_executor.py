"""The coordinator's executor: a process for every run that the SuperLink has accepted."""

import json
import os
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from flwr.supercore.constant import TaskType

from fedrec.deployment import coordinator_worker
from fedrec.deployment.bundle import read_approved
from fedrec.deployment.runtime_api import RuntimeApi, python, say
from fedrec.errors import UserError

_STOP_SECONDS = 5.0


class CoordinatorExecutor:
    """Starts a process for every run that the SuperLink has accepted."""

    task_type = TaskType.SERVER_APP

    def __init__(self, api: RuntimeApi, approved: Path, folder: Path) -> None:
        self._api = api
        self._approved = approved
        self._folder = folder
        self._runs: list[subprocess.Popen[bytes]] = []

    def execute(self, token: str) -> None:
        """Start the run of one token."""
        self._runs = [run for run in self._runs if run.poll() is None]
        try:
            approved = sorted(read_approved(self._approved))
        except UserError as error:
            say(str(error))
            approved = []  # so that the run ends and says that its bundle is not approved
        told = {
            "address": self._api.address,
            "root_certificates": str(self._api.root_certificates),
            "token": token,
            "approved": approved,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "FLWR_HOME": tempfile.mkdtemp(dir=self._folder)}  # where Flower unpacks bundles
        command = python(coordinator_worker.__file__)
        run = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)  # noqa: S603
        if run.stdin is None:
            raise RuntimeError("a run without standard input")
        with run.stdin as stream:
            stream.write(json.dumps(told).encode())
        self._runs.append(run)

    def stop(self) -> None:
        """End what runs; Flower's runtime tells the SuperLink."""
        for run in self._runs:
            run.terminate()
        until = time.monotonic() + _STOP_SECONDS
        for run in self._runs:
            with suppress(subprocess.TimeoutExpired):
                run.wait(max(0.1, until - time.monotonic()))
