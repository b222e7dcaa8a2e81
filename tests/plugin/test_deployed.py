"""A package that adds components, on hosts where nothing of it is installed: its code comes in the approved bundle."""

import json
import sys
from pathlib import Path

import pytest

from fedrec.deployment.bundle import own_bundle
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK, TINY
from tests.deployment.hosts import ROOT, deployment
from tests.deployment.near import assert_near
from tests.integration.harness import quick

pytestmark = pytest.mark.deploy

WORDS = ["encoder.kind=average", "encoder.window=3", "evaluation.methods=[federated, local]"]


def test_the_hosts_run_what_their_operators_approved(installed: Path, synthetic: Path, tmp_path: Path) -> None:
    alone = prepare_simulation(quick(*WORDS), synthetic, tmp_path / "run").start()
    words = [word for setting in (*QUICK, *WORDS) for word in ("--set", setting)]
    with deployment(tmp_path / "hosts", TINY) as made:
        hosts = (made.coordinator, *made.markets.values())
        for host in hosts:
            host.more["PYTHONPATH"] = str(ROOT)  # without the package's own folder
        for market in made.markets.values():
            with market.part.environment.open("a") as stream:
                stream.write("FEDREC_PLUGINS=marketkit\n")
        made.start()
        made.coordinator.more["PYTHONPATH"] = f"{installed}:{ROOT}"  # of `fedrec run` alone: all else runs already
        refused = made.run("fecosr", "refused", *words)
        assert refused.returncode == 1
        assert "not approved" in refused.stderr
        made.approve(own_bundle(("marketkit",)))
        result = made.run("fecosr", "approved", *words)
        assert result.returncode == 0, result.stdout + result.stderr + made.logs()
        there = json.loads((made.run_folder("approved") / "summary.json").read_text())
    assert_near(comparable(there) | {"dataset": ""}, comparable(alone) | {"dataset": ""})
    assert sys.modules["marketkit"].__file__ == str(installed / "marketkit" / "__init__.py")
