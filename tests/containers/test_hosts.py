"""The how-to of several hosts, typed as it stands: each host a compose project of its own, joined by one port."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedrec.data.synth import write_synthetic_markets
from tests.conftest import QUICK, TINY
from tests.containers.engine import IMAGE, RUN, Project, project, run

pytestmark = pytest.mark.containers
WORDS = [word for setting in [*QUICK, "evaluation.methods=[federated, popularity]"] for word in ("--set", setting)]
USER = "1234"  # the operator's, on every host: neither root nor the image's own


def bridge() -> str:
    """An address of this machine that every container with a way out reaches."""
    found = re.search(r"inet ([\d.]+)", run("ip", "-4", "addr", "show", "docker0").stdout)
    assert found is not None
    return found[1]


def fedrec(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Wherever a `fedrec` command stands in the how-to and the host has the image alone."""
    command = ["docker", "run", "--rm", "-u", f"{USER}:{USER}", "-v", f"{folder}:/here", "-w", "/here", IMAGE, "fedrec"]
    return run(*command, *words)


def well(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def hosts(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Project]]:
    """Three hosts up, the markets' first; nothing was registered by hand."""
    trusted = tmp_path_factory.mktemp("hosts")
    write_synthetic_markets(trusted / "imported", TINY)
    for path in (trusted, *trusted.rglob("*")):
        shutil.chown(path, int(USER), int(USER))
    well(fedrec(trusted, "deploy", "init", "europe", "--markets", "alfa,bravo", "--host", bridge()))
    parts = {"alfa": "markets/alfa", "bravo": "markets/bravo", "coordinator": "coordinator"}
    with ExitStack() as stack:
        found = {}
        for name, place in parts.items():
            folder = trusted / "elsewhere" / name / name  # carried to its host
            folder.parent.mkdir(parents=True)
            shutil.move(trusted / "europe" / place, folder)
            values = dict(line.split("=") for line in (folder / ".env").read_text().splitlines())
            assert (values["FEDREC_UID"], values["FEDREC_GID"]) == (USER, USER)
            (folder / ".env").write_text((folder / ".env").read_text().replace(values["FEDREC_VERSION"], IMAGE[7:]))
            if name != "coordinator":
                (folder / "data").rmdir()
                shutil.move(trusted / "imported" / name, folder / "data")
            well(fedrec(folder.parent, "deploy", "approve", name))
            looked = fedrec(folder.parent, "deploy", "check", name)
            assert looked.returncode == 0, looked.stdout + looked.stderr
            made = Project(f"fedrec-{name}", folder, environment, "compose.yaml")
            found[name] = stack.enter_context(project(made))
            well(found[name].compose("up", "-d"))
        yield found


def test_a_first_round_from_empty_hosts(hosts: dict[str, Project]) -> None:
    coordinator = hosts["coordinator"]
    result = coordinator.inside("coordinator", *RUN, "--out", "/deployment/runs/first", *WORDS, seconds=240)
    assert result.returncode == 0, result.stdout + result.stderr + "".join(one.logs() for one in hosts.values())
    online = well(coordinator.inside("coordinator", "fedrec", "deploy", "nodes", "/deployment"))
    assert online.count("online") == 2
    summary = json.loads((coordinator.folder / "runs" / "first" / "summary.json").read_text())
    assert all(record["accepted"] == ["alfa", "bravo"] for record in summary["rounds"])
    for one in hosts.values():
        one.wait_for_health()


def test_the_result_is_used_on_a_markets_own_host(hosts: dict[str, Project]) -> None:
    host = hosts["alfa"].folder.parent
    printed = well(
        fedrec(host, "recommend", "alfa/state/first", "--market", "alfa", "--data", "alfa/data", "--user", "alfa-00000")
    )
    assert "by federated" in printed
    assert "train.pretrain" in well(fedrec(host, "ledger", "alfa/state/first"))


def test_other_hosts_may_start_nothing(hosts: dict[str, Project]) -> None:
    """A node reaches the SuperLink's port; without the coordinator's token only the fleet's interface answers."""
    code = (
        "import httpx, ssl, sys\n"
        "client = httpx.Client(verify=ssl.create_default_context(cafile='/run/secrets/ca.crt'))\n"
        "for path in ('v1/control/list-runs', 'v1/runtime/acquire-task', 'v1/fleet/activate-node'):\n"
        f"    print(client.post(f'https://{bridge()}:9092/{{path}}', content=b'').status_code)\n"
    )
    control, runtime, fleet = hosts["alfa"].python("node", code).split()
    assert (control, runtime) == ("403", "403")
    assert fleet not in {"200", "403"}


def test_check_sees_data_that_containers_cannot_read(hosts: dict[str, Project]) -> None:
    """By the user that containers run as, whoever asks."""
    data = hosts["bravo"].folder / "data"
    (data / "interactions.parquet").chmod(0o600)
    shutil.chown(data / "interactions.parquet", 0, 0)
    try:
        command = ["docker", "run", "--rm", "-u", "0", "-v", f"{data.parent.parent}:/here", "-w", "/here", IMAGE]
        looked = run(*command, "fedrec", "deploy", "check", "bravo")
        assert looked.returncode == 1, looked.stdout
        assert f"user {USER} of the containers cannot read" in looked.stdout
    finally:
        shutil.chown(data / "interactions.parquet", int(USER), int(USER))
