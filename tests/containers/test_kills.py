"""A container that is killed in the middle of a run, whichever it is: the run ends as if nothing had happened."""

from typing import Any

import pytest

from fedrec.runs.summary import comparable
from tests.conftest import quickly
from tests.containers.engine import RUN, Project

pytestmark = pytest.mark.containers
SETTINGS = quickly("federation.rounds=8", "federation.patience=100", "evaluation.methods=[federated, popularity]")


@pytest.fixture(scope="module")
def undisturbed(up: Project) -> dict[str, Any]:
    process = up.lead("undisturbed", SETTINGS)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output + up.logs()
    return up.summary("undisturbed")


@pytest.mark.parametrize("victim", ["market-bravo", "node-bravo", "superlink", "coordinator"])
def test_killed_in_a_round(up: Project, undisturbed: dict[str, Any], victim: str) -> None:
    name = f"killed-{victim}"
    process = up.lead(name, SETTINGS)
    up.wait(lambda: len(up.events(name, "round")) >= 2, "the second round")
    up.kill(victim)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output + up.logs()
    summary = up.summary(name)
    missed = [one["market"] for record in summary["rounds"] for one in record["rejected"]]
    assert len(missed) <= 1, missed
    seconds = [record["seconds"] for record in summary["rounds"]]
    print(f"{victim}: missed {missed}; longest round {max(seconds):.1f} s of {sum(seconds):.1f}")
    assert [record["round"] for record in summary["rounds"]] == list(range(1, 9))
    if not missed:
        assert comparable(summary) == comparable(undisturbed)
    up.wait(lambda: up.healthy(victim), f"{victim} to be healthy again")


def test_everything_restarted_in_a_run(up: Project, undisturbed: dict[str, Any]) -> None:
    """As by `docker compose restart`, or a machine that comes back: who led it says how to go on, and that works."""
    name = "restarted"
    options = [word for setting in SETTINGS for word in ("--set", setting)]
    process = up.popen("exec", "-T", "coordinator", *RUN, "--out", f"/deployment/runs/{name}", *options)
    up.wait(lambda: len(up.events(name, "round")) >= 2, "the second round")
    assert up.compose("restart", "--timeout", "3").returncode == 0
    process.communicate(timeout=60)
    said = f"fedrec run --resume /deployment/runs/{name}"
    up.wait(lambda: said in up.compose("logs", "coordinator").stdout, said)
    resumed = up.inside("coordinator", "fedrec", "run", "--resume", f"/deployment/runs/{name}", seconds=200)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr + up.logs()
    assert comparable(up.summary(name)) == comparable(undisturbed)
