"""A package that adds components, on hosts where nothing of it is installed: its code comes in the approved bundle."""

import json
import sys
from pathlib import Path

import pytest

from fedrec.deployment.bundle import own_bundle
from fedrec.recipe import load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK, TINY
from tests.deployment.hosts import ROOT, deployment
from tests.deployment.near import assert_near

pytestmark = pytest.mark.deploy

OTHERS = [words for words in QUICK if not words.startswith("loss.")]  # whose keys are of another loss
WORDS = [
    "encoder.kind=average",
    "encoder.window=3",
    "loss.kind=smooth",
    "semantics.kind=letters",
    "aggregator.kind=halfway",
    "update.stages=[rounded]",
    "evaluation.metrics=[ndcg, first]",
    "evaluation.methods=[federated, local]",
]


# It has neither encoder nor loss.
ALGORITHM = [*(one for one in (*OTHERS, *WORDS) if not one.startswith(("encoder.", "loss."))), "algorithm.kind=factors"]


def test_the_hosts_run_what_their_operators_approved(installed: Path, synthetic: Path, tmp_path: Path) -> None:
    alone = prepare_simulation(load_recipe("fecosr", [*OTHERS, *WORDS]), synthetic, tmp_path / "run").start()
    words = [word for setting in (*OTHERS, *WORDS) for word in ("--set", setting)]
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
        factors_words = [word for setting in ALGORITHM for word in ("--set", setting)]
        result = made.run("fecosr", "factors", *factors_words)
        assert result.returncode == 0, result.stdout + result.stderr + made.logs()
        factors = json.loads((made.run_folder("factors") / "summary.json").read_text())
    ours = load_recipe("fecosr", ALGORITHM)
    here = prepare_simulation(ours, synthetic, tmp_path / "factors").start()
    assert_near(comparable(factors) | {"dataset": ""}, comparable(here) | {"dataset": ""})
    assert_near(comparable(there) | {"dataset": ""}, comparable(alone) | {"dataset": ""})
    assert sys.modules["marketkit"].__file__ == str(installed / "marketkit" / "__init__.py")
