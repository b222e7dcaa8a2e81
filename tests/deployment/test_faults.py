"""Faults are ordinary: kills at every phase, slow lines, full disks, changed data. Each ends as documented."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedrec.runs.summary import comparable
from tests.conftest import QUICK, TINY
from tests.deployment.bundles import HOLDS, VICTIM, holdable, write
from tests.deployment.hosts import Deployment, deployment

pytestmark = pytest.mark.deploy

DEADLINE = 25
SETTINGS = [
    *QUICK,
    "federation.rounds=4",
    f"federation.deadline_seconds={DEADLINE}",
    f"federation.stage_deadline_seconds={3 * DEADLINE}",
    "federation.optimiser.kind=adam",
    "evaluation.methods=[federated, popularity]",
]
WORDS = [word for setting in SETTINGS for word in ("--set", setting)]
PHASES = ("configure", "train", "aggregate", "checkpoint", "evaluate")
VICTIMS = ("client", "node", "superlink")
IN_DEFAULT = {("train", "client"), ("checkpoint", "node"), ("aggregate", "superlink")}


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
    elif victim == "node":
        deployed.markets[VICTIM].kill("node")
    else:
        deployed.coordinator.kill("superlink")


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
    if victim == "superlink":
        assert process.returncode == 1, output
        assert not (deployed.run_folder(name) / "summary.json").exists()
        deployed.wait_for_superlink()
        resumed = deployed.coordinator.popen("run", "--resume", str(deployed.run_folder(name)), bundle=held.bundle)
        output, _ = resumed.communicate(timeout=300)
        assert resumed.returncode == 0, output + deployed.logs()
        assert comparable(held.summary(name)) == comparable(undisturbed), "as if nothing had happened"
        return
    assert process.returncode == 0, output + deployed.logs()
    records = held.summary(name)["rounds"]
    assert [record["round"] for record in records] == [1, 2, 3, 4]
    for record in records:
        assert sorted([*record["accepted"], *(one["market"] for one in record["rejected"])]) == sorted(TINY.markets)
    missed = [(record["round"], one["market"]) for record in records for one in record["rejected"]]
    assert missed == ([(2, VICTIM)] if phase == "train" else [])
    if not missed and phase != "evaluate":
        assert comparable(held.summary(name)) == comparable(undisturbed)
