"""``fedrec doctor``: is this machine fit for what fedrec does on it?"""

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rich.console import Console

from fedrec.deployment.layout import SUPERLINK_PORT
from fedrec.errors import RunError
from fedrec.memory_plan import free_memory
from fedrec.offline import go_offline
from fedrec.report.tables import print_lines

Verdict = Literal["ok", "note", "problem"]
_GB = 1e9
_MIN_MEMORY, _MIN_DISK = 2.0, 2.0  # GB: the demo takes less than one of each
_EXTRAS = {
    "text": "sentence_transformers",
    "tune": "optuna",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str


def doctor() -> None:
    """Look at versions, cores, memory, disk, GPU and ports; exit code 1 where something stands in the way."""
    go_offline()
    checks = list(_checks())
    lines = [f"{check.verdict:9}{check.name:20}{check.found}" for check in checks]
    print_lines(Console(markup=False), lines)
    problems = [check.name for check in checks if check.verdict == "problem"]
    if problems:
        raise RunError(f"problems: {', '.join(problems)}")


def _checks() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for package in ("fedrec", "flwr", "ray", "torch", "numpy", "polars"):
        yield _package(package)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    help_where = f"{cores}; engine.workers up to that many help where a round takes seconds"
    yield Check("cores", "ok" if cores > 1 else "note", help_where)
    yield _memory()
    free = shutil.disk_usage(Path.cwd()).free / _GB
    yield Check("disk here", "ok" if free >= _MIN_DISK else "problem", f"{free:.1f} GB free in {Path.cwd()}")
    yield _gpu()
    yield _port()
    for extra, module in _EXTRAS.items():
        there = find_spec(module) is not None
        yield Check(
            f"extra {extra}",
            "ok" if there else "note",
            "there" if there else f"pip install '.[{extra}]' in fedrec's folder",
        )


def _package(name: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, "problem", "not installed")
    stated = requires("fedrec") or []
    pinned = next((one for one in stated if one.startswith((f"{name}[", f"{name}=="))), "")
    wanted = pinned.partition("==")[2].partition(";")[0].strip()
    if wanted and wanted != found:
        return Check(name, "problem", f"{found}, but fedrec is made for {wanted}: pip install '{name}=={wanted}'")
    return Check(name, "ok", found)


def _memory() -> Check:
    free = free_memory()
    if free is None:
        return Check("memory", "note", "not told by this system")
    return Check("memory", "ok" if free >= _MIN_MEMORY * _GB else "problem", f"{free / _GB:.1f} GB available")


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", "note", "none that torch can use: training runs on the CPU, one thread a market")
    device = torch.cuda.get_device_properties(0)
    return Check("gpu", "ok", f"{device.name}, {device.total_memory / _GB:.0f} GB")


def _port() -> Check:
    name = f"port {SUPERLINK_PORT}"
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", SUPERLINK_PORT))
        except OSError:
            return Check(name, "note", "taken: a SuperLink of `fedrec deploy` could not listen here")
    return Check(name, "ok", "free, for a SuperLink of `fedrec deploy`")
