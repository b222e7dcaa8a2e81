"""Two Ray nodes on this machine, started as an operator starts them: a run over both, and one that loses one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation
from tests.integration.harness import quick

pytestmark = pytest.mark.slow
RAY = str(Path(sys.executable).parent / "ray")
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Node:
    """`ray start --block`, with what it starts in a process group of its own."""

    def __init__(self, *words: str) -> None:
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # names of sockets must be short
        self.folder = Path(folder)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": folder}
        self.process = subprocess.Popen(
            [RAY, "start", "--block", "--num-cpus=1", *words],
            env=environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster() -> Iterator[tuple[str, Node]]:
    """Its address, and the node that is not the head."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    head = Node("--head", "--include-dashboard=false", f"--port={port}")
    other = None
    try:
        until = time.monotonic() + 180
        while subprocess.run([RAY, "health-check", "--address", address], capture_output=True).returncode:
            assert time.monotonic() < until
        other = Node(f"--address={address}")
        while nodes(address) < 2:
            assert time.monotonic() < until
            time.sleep(0.5)
        yield address, other
    finally:
        for node in (other, head):
            if node is not None:
                node.kill()


def nodes(address: str) -> int:
    """How many are alive, as another process sees it."""
    code = f"import ray; ray.init({address!r}, log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    return int(told[-1]) if told else 0


def test_a_run_over_two_nodes_equals_inline_and_one_node_may_be_lost(
    cluster: tuple[str, Node], synthetic: Path, tmp_path: Path
) -> None:
    address, other = cluster
    few = ("evaluation.methods=[federated]", "federation.rounds=6", "federation.patience=6", "federation.quorum=0.3")
    inline = prepare_simulation(quick(*few), synthetic, tmp_path / "inline").start()
    on_ray = quick(*few, "engine.kind=ray", f"ray.address={address}")
    both = prepare_simulation(on_ray, synthetic, tmp_path / "both").start()
    assert comparable(both) == comparable(inline)

    def lose(market: str, action: str) -> None:
        if action == "train.pretrain" and '"round": 2' in (tmp_path / "lost" / "events.jsonl").read_text():
            other.kill()

    lost = prepare_simulation(on_ray, synthetic, tmp_path / "lost").start(lose)
    accepted = [len(record["accepted"]) for record in lost["rounds"]]
    rejected = [one["reason"] for record in lost["rounds"] for one in record["rejected"]]
    assert accepted[:2] == [3, 3]
    assert accepted[-1] == 3, "its markets have moved to the node that is left"
    assert rejected
    assert all("died" in reason for reason in rejected)
    assert json.loads((tmp_path / "lost" / "summary.json").read_text())["mean"]["federated"]["ndcg@10"] > 0
