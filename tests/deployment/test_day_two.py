"""A live deployment whose key is rotated, that gains a market and loses one."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fedrec.data.synth import write_synthetic_markets
from fedrec.deployment.bundle import approve, own_bundle
from fedrec.deployment.layout import CoordinatorPart
from tests.conftest import QUICK, TINY
from tests.deployment.hosts import COORDINATOR, Deployment, Host, deployment

pytestmark = [pytest.mark.deploy, pytest.mark.slow]
WORDS = [word for setting in [*QUICK, "evaluation.methods=[federated, popularity]"] for word in ("--set", setting)]


def nodes(deployed: Deployment) -> dict[str, tuple[str, str]]:
    """Number and status of every registered node by market, as an operator reads it."""
    part = str(deployed.coordinator.part.path)
    printed = deployed.coordinator.run("deploy", "nodes", part).stdout
    found = re.findall(r"^(\S+|\(no market here\))\s+(\d+)\s+(\w+)$", printed, re.MULTILINE)
    return {market: (number, status) for market, number, status in found}


def runs(deployed: Deployment, name: str) -> list[str]:
    """A run; the markets that took part in all its rounds."""
    result = deployed.run("fecosr", name, *WORDS)
    assert result.returncode == 0, result.stdout + result.stderr + deployed.logs()
    records = deployed.events(name, "round")
    return sorted(set.intersection(*(set(record["accepted"]) for record in records)))


def test_day_two(tmp_path: Path) -> None:
    with deployment(tmp_path, TINY) as made:
        made.start()
        part = CoordinatorPart(made.coordinator.part.path)
        operator = made.coordinator
        assert runs(made, "before") == ["alfa", "bravo", "charlie"]
        number, _ = nodes(made)["bravo"]

        rotated = operator.run("deploy", "rotate-key", str(made.folder.path), "--market", "bravo")
        assert rotated.returncode == 0, rotated.stderr
        made.wait_for(
            lambda: number not in {one for one, _ in nodes(made).values()}, "the old key to be let in no more"
        )
        made.markets["bravo"].kill("node")  # and is started again, with the new key
        made.wait_for(lambda: nodes(made).get("bravo", ("", ""))[1] == "online", "the node with the new key")
        assert nodes(made)["bravo"][0] != number
        assert runs(made, "rotated") == ["alfa", "bravo", "charlie"]

        added = operator.run("deploy", "add-market", str(made.folder.path), "--market", "delta")
        assert added.returncode == 0, added.stderr
        delta = made.folder.market("delta")
        write_synthetic_markets(tmp_path / "more", replace(TINY, markets=(*TINY.markets, "delta")))
        delta.data.rmdir()
        shutil.move(tmp_path / "more" / "delta", delta.data)
        approve(delta.approved, own_bundle(), "its operator")
        names = {"superlink": COORDINATOR, "node": "127.0.0.1"}
        host = Host(made.network.join("delta", "10.77.0.20", names), delta, tmp_path / "delta")
        host.scratch.mkdir()
        made.markets["delta"] = host
        host.start("node")
        host.start("market")
        assert runs(made, "added") == ["alfa", "bravo", "charlie", "delta"]

        (part.keys / "charlie.pub").unlink()
        made.wait_for(lambda: "charlie" not in nodes(made), "the market to be let in no more")
        assert "not let in yet" in made.markets["charlie"].log("node").read_text()
        assert runs(made, "removed") == ["alfa", "bravo", "delta"]
