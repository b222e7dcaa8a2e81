"""Faults are ordinary: kills at every phase, slow lines, full disks, changed data. Each ends as documented."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fedrec.data.synth import write_synthetic_markets
from fedrec.deployment.layout import MarketPart
from fedrec.runs.summary import comparable
from tests.conftest import TINY, quickly
from tests.deployment.bundles import HOLDS, VICTIM, holdable, write
from tests.deployment.hosts import COORDINATOR, ROOT, Deployment, deployment

pytestmark = pytest.mark.deploy

DEADLINE = 25
SETTINGS = quickly(
    "federation.rounds=4",
    f"federation.deadline_seconds={DEADLINE}",
    f"federation.stage_deadline_seconds={3 * DEADLINE}",
    "aggregator.kind=fedadam",
    "evaluation.methods=[federated, popularity]",
)
WORDS = [word for setting in SETTINGS for word in ("--set", setting)]
PHASES = ("configure", "train", "aggregate", "checkpoint", "evaluate")
VICTIMS = ("client", "market", "node", "superlink", "coordinator")
IN_DEFAULT = {
    ("train", "client"),
    ("train", "market"),
    ("checkpoint", "node"),
    ("aggregate", "superlink"),
    ("train", "coordinator"),
}


@dataclass
class Holdable:
    """A deployment whose runs can be held still in any phase."""

    deployed: Deployment
    bundle: Path
    holds: Path

    def hold(self, phase: str) -> None:
        (self.holds / f"{phase}.wanted").touch()

    def wait(self, phase: str) -> None:
        self.deployed.wait_for(lambda: (self.holds / f"{phase}.here").exists(), f"phase {phase}", 120)

    def release(self, phase: str) -> None:
        (self.holds / f"{phase}.here").unlink()

    def summary(self, name: str) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.deployed.run_folder(name) / "summary.json").read_text())
        return summary


@pytest.fixture(scope="module")
def holdable_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holdable]:
    directory = tmp_path_factory.mktemp("faults")
    holds = directory / "holds"
    holds.mkdir()
    with deployment(directory, TINY) as made:
        for host in (made.coordinator, *made.markets.values()):
            host.more[HOLDS] = str(holds)
        bundle = holdable()
        made.approve(bundle)
        made.start()
        yield Holdable(made, write(bundle, directory), holds)


@pytest.fixture(scope="module")
def undisturbed(holdable_deployment: Holdable) -> dict[str, Any]:
    process = holdable_deployment.deployed.submit(holdable_deployment.bundle, "fecosr", "undisturbed", *WORDS)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return holdable_deployment.summary("undisturbed")


def kill(deployed: Deployment, victim: str) -> None:
    if victim == "client":
        deployed.markets[VICTIM].kill_worker()
    elif victim in {"node", "market"}:
        deployed.markets[VICTIM].kill(victim)
    else:
        deployed.coordinator.kill(victim)


@pytest.mark.parametrize(
    ("phase", "victim"),
    [
        pytest.param(phase, victim, marks=[] if (phase, victim) in IN_DEFAULT else pytest.mark.slow)
        for phase in PHASES
        for victim in VICTIMS
    ],
)
def test_a_kill_at_any_phase_loses_nothing_and_counts_nothing_twice(
    holdable_deployment: Holdable, undisturbed: dict[str, Any], phase: str, victim: str
) -> None:
    held, deployed = holdable_deployment, holdable_deployment.deployed
    name = f"{phase}-{victim}"
    held.hold(phase)
    process = deployed.submit(held.bundle, "fecosr", name, *WORDS)
    held.wait(phase)
    kill(deployed, victim)
    held.release(phase)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output + deployed.logs()
    if victim in {"superlink", "coordinator"}:
        reason = "knows it no more" if victim == "superlink" else "No heartbeat"
        assert reason in deployed.events(name, "ended")[0]["reason"]
        assert len(deployed.events(name, "submitted")) == 2, "it went on by itself"
        assert comparable(held.summary(name)) == comparable(undisturbed), "as if nothing had happened"
        return
    records = held.summary(name)["rounds"]
    assert [record["round"] for record in records] == [1, 2, 3, 4]
    for record in records:
        assert sorted([*record["accepted"], *(one["market"] for one in record["rejected"])]) == sorted(TINY.markets)
    missed = [(record["round"], one["market"]) for record in records for one in record["rejected"]]
    if victim in {"client", "market"}:
        assert not missed, "it was asked again"
    assert {market for _, market in missed} <= {VICTIM}
    assert VICTIM in records[-1]["accepted"], "it came back"
    if not missed and phase != "evaluate":
        assert comparable(held.summary(name)) == comparable(undisturbed)


def test_a_late_reply_is_counted_in_no_round(holdable_deployment: Holdable, undisturbed: dict[str, Any]) -> None:
    held, deployed = holdable_deployment, holdable_deployment.deployed
    held.hold("train")
    process = deployed.submit(held.bundle, "fecosr", "late", *WORDS)
    held.wait("train")
    deployed.wait_for(lambda: len(deployed.events("late", "round")) >= 2, "the deadline", 2 * DEADLINE)
    held.release("train")  # its process was replaced; nobody waits for this answer
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    _, second, *later = held.summary("late")["rounds"]
    assert second["rejected"] == [{"market": VICTIM, "reason": f"no reply within {DEADLINE} s"}]
    assert all(record["accepted"] == sorted(TINY.markets) for record in later)


def test_an_interruption_stops_the_run_and_it_can_go_on(
    holdable_deployment: Holdable, undisturbed: dict[str, Any]
) -> None:
    """Ctrl-C: exit code 130, nobody goes on computing, and the next start has the lock."""
    held, deployed = holdable_deployment, holdable_deployment.deployed
    held.hold("train")
    process = deployed.submit(held.bundle, "fecosr", "interrupted", *WORDS)
    held.wait("train")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    held.release("train")
    resumed = deployed.coordinator.popen("run", "--resume", str(deployed.run_folder("interrupted")), bundle=held.bundle)
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    assert comparable(held.summary("interrupted")) == comparable(undisturbed)


def test_data_that_changed(holdable_deployment: Holdable) -> None:
    """The market notices by itself and takes part no more; the others go on."""
    held, deployed = holdable_deployment, holdable_deployment.deployed
    data = MarketPart(deployed.markets[VICTIM].part.path).data
    kept = data.with_name("kept")
    held.hold("aggregate")
    process = deployed.submit(held.bundle, "fecosr", "changed", *WORDS)
    held.wait("aggregate")
    data.rename(kept)
    write_synthetic_markets(data.with_name("others"), replace(TINY, seed=99))
    (data.with_name("others") / VICTIM).rename(data)
    try:
        held.release("aggregate")
        output, _ = process.communicate(timeout=240)
    finally:
        shutil.rmtree(data)
        kept.rename(data)
    assert process.returncode == 0, output
    summary = held.summary("changed")
    reason = "the data of this market have changed since the run began; put them back, or start anew"
    for record in summary["rounds"][2:]:
        assert record["rejected"] == [{"market": VICTIM, "reason": f"error 1000: {reason}"}]
    assert {failure["market"] for failure in summary["failed"]} == {VICTIM}
    assert summary["markets"]["alfa"]["results"]["federated"]
    assert reason in output


def test_a_disk_that_is_full_at_a_checkpoint(holdable_deployment: Holdable, undisturbed: dict[str, Any]) -> None:
    held, deployed = holdable_deployment, holdable_deployment.deployed
    name, folder = "full", deployed.run_folder("full")
    held.hold("aggregate")
    process = deployed.submit(held.bundle, "fecosr", name, *WORDS)
    held.wait("aggregate")
    inside = ["nsenter", "--target", str(deployed.coordinator.processes["coordinator"].pid), "--mount"]
    checkpoints = str(folder / "checkpoints")
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", checkpoints], check=True)
    try:
        held.release("aggregate")
        output, _ = process.communicate(timeout=240)
    finally:
        subprocess.run([*inside, "umount", checkpoints], check=True)
    assert process.returncode == 1, output
    assert "No space left on device" in output
    assert "No space left on device" in deployed.events(name, "error")[-1]["reason"]
    resumed = deployed.coordinator.popen("run", "--resume", str(folder), bundle=held.bundle)
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    assert comparable(held.summary(name)) == comparable(undisturbed)


def test_a_line_that_delays_throttles_and_breaks(holdable_deployment: Holdable) -> None:
    """300 ms each way, 300 kB a second, connections cut after five seconds on average: deadlines are kept."""
    deployed = holdable_deployment.deployed
    host = deployed.markets[VICTIM]
    with (host.scratch / "proxy.txt").open("w") as log:
        line = ["9200", f"{COORDINATOR}:9092", "0.3", "300000", "5", "7"]
        command = ["ip", "netns", "exec", host.namespace, sys.executable, "-m", "tests.deployment.proxy", *line]
        proxy = subprocess.Popen(command, stdout=log, stderr=log, env=host.environment("proxy"), cwd=ROOT)
    host.extra["node"] = ["--superlink", "127.0.0.1:9200"]
    host.kill("node")
    try:
        process = deployed.submit(holdable_deployment.bundle, "fecosr", "line", *WORDS)
        output, _ = process.communicate(timeout=400)
    finally:
        host.extra.clear()
        host.kill("node")
        proxy.kill()
        proxy.wait()
    assert process.returncode == 0, output
    summary = holdable_deployment.summary("line")
    assert all(record["seconds"] < DEADLINE + 5 for record in summary["rounds"])
    assert any(VICTIM in record["accepted"] for record in summary["rounds"]), "it takes part"
    assert all({"alfa", "charlie"} <= set(record["accepted"]) for record in summary["rounds"])
    assert (host.scratch / "proxy.txt").read_text().count("cut") >= 3, "the line did break"
