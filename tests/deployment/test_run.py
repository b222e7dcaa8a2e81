"""Three markets on hosts of their own: the same figures as in one process, and what comes with a deployment."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedrec.data.store import open_store
from fedrec.deployment.certificates import Authority
from fedrec.deployment.layout import MarketPart
from fedrec.recipe import load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK, TINY
from tests.deployment.hosts import Deployment, deployment
from tests.deployment.near import assert_near

pytestmark = pytest.mark.deploy

RECIPES = {
    "fecosr": [*QUICK, "semantics.kind=cooccurrence", "evaluation.methods=[federated, local, popularity, fedease]"],
    "ranker": [
        *("algorithm.hidden=8", "federation.rounds=3", "scores.rounds=2", "scores.finetune_epochs=1"),
        *("model.dimension=16", "semantics.dimension=16", "ease.lambdas=[10]", "evaluation.resamples=50"),
        "evaluation.methods=[federated, local, popularity]",
    ],
    "fedmm": ["codes.rounds=2", "collaborative.epochs=2", "ctr.epochs=2", "evaluation.resamples=50"],
}
MARKET = "bravo"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("deployed"), TINY) as made:
        made.start()
        for recipe, settings in RECIPES.items():
            words = [word for setting in settings for word in ("--set", setting)]
            result = made.run(recipe, recipe, *words)
            assert result.returncode == 0, result.stdout + result.stderr + made.logs()
        yield made


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_summary_is_that_of_one_process(deployed: Deployment, recipe: str, synthetic: Path, tmp_path: Path) -> None:
    alone = prepare_simulation(load_recipe(recipe, RECIPES[recipe]), synthetic, tmp_path / "run").start()
    there = json.loads((deployed.run_folder(recipe) / "summary.json").read_text())
    assert there["engine"] == "deploy"
    assert_near(comparable(there) | {"dataset": ""}, comparable(alone) | {"dataset": ""})


def test_retraining_begins_with_the_last_model(deployed: Deployment, synthetic: Path, tmp_path: Path) -> None:
    words = [word for setting in RECIPES["fecosr"] for word in ("--set", setting)]
    last = deployed.run_folder("fecosr")
    result = deployed.run("fecosr", "again", *words, "--warm-start", str(last))
    assert result.returncode == 0, result.stdout + result.stderr + deployed.logs()
    there = json.loads((deployed.run_folder("again") / "summary.json").read_text())
    assert there["warm_start"] is True
    recipe = load_recipe("fecosr", RECIPES["fecosr"])
    alone = prepare_simulation(recipe, synthetic, tmp_path / "run", warm_start=last).start()
    assert_near(comparable(there) | {"dataset": ""}, comparable(alone) | {"dataset": ""})


def test_the_run_folder_is_a_run_folder(deployed: Deployment) -> None:
    folder = deployed.run_folder("fecosr")
    assert {"recipe.yaml", "manifest.json", "events.jsonl", "summary.json", "shared", "checkpoints"} <= {
        path.name for path in folder.iterdir()
    }
    assert not (folder / "markets").exists(), "private state of a market on the coordinator's host"
    assert json.loads((folder / "manifest.json").read_text())["data"] == {"folder": None, "hashes": {}}
    report = deployed.coordinator.run("report", str(folder))
    assert report.returncode == 0
    assert "engine deploy" in report.stdout
    there = deployed.coordinator.run("recommend", str(folder), "--market", MARKET, "--user", "x")
    assert there.returncode == 2
    assert "on their own hosts" in there.stderr


def test_recommendations_on_the_markets_own_host(deployed: Deployment) -> None:
    host = deployed.markets[MARKET]
    part = MarketPart(host.part.path)
    user = open_store(part.data).interactions["user_id"][0]
    state = part.state / "fecosr"
    words = ["recommend", str(state), "--market", MARKET, "--data", str(part.data), "--user", user, "-k", "3"]
    result = host.run(*words)
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"^[123] ", result.stdout, re.MULTILINE)) == 3
    assert "by federated" in result.stdout
    ledger = host.run("ledger", str(state))
    assert ledger.returncode == 0, ledger.stderr
    assert "train.pretrain" in ledger.stdout


def test_other_hosts_reach_the_fleets_interface_alone(deployed: Deployment) -> None:
    """Whoever may start runs or register nodes rules the federation: that is this host's right alone."""
    host = deployed.markets[MARKET]
    code = (
        "import httpx, ssl, sys\n"
        "context = ssl.create_default_context(cafile=sys.argv[1])\n"
        "client = httpx.Client(verify=context, base_url='https://superlink:9092')\n"
        "for path in ('v1/control/list-runs', 'v1/control/start-run', 'v1/runtime/acquire-task', 'v1/fleet/get-fab',\n"
        "             'docs', 'openapi.json', 'V1/control/list-runs', '/v1/fleet/../control/list-runs'):\n"
        "    print(client.post(path, content=b'').status_code)\n"
        "print(client.get('health').status_code)\n"
        "print(client.post('v1/fleet/push-object', content=b'x' * (33 << 20)).status_code)\n"
    )
    result = host.python(code, str(host.part.authority))
    fleet, health, large = 3, 8, 9
    codes = [int(line) for line in result.stdout.split()]
    assert codes[health] == 200, result.stderr
    assert codes[large] == 413
    assert codes[fleet] not in {200, 403, 413}, "reaches Flower, which refuses it for want of a signature"
    assert [code for index, code in enumerate(codes) if index not in (fleet, health, large)] == [403] * 7


def test_every_process_is_healthy_and_stays_so(deployed: Deployment) -> None:
    """By the health checks that compose files wait for."""
    assert deployed.healthy(deployed.coordinator, "superlink")
    assert deployed.healthy(deployed.coordinator, "coordinator")
    for host in deployed.markets.values():
        assert deployed.healthy(host, "node")
        assert deployed.healthy(host, "market")


def test_check_sees_the_superlink(deployed: Deployment, tmp_path: Path) -> None:
    host = deployed.markets[MARKET]
    good = host.run("deploy", "check", str(host.part.path))
    assert good.returncode == 0, good.stdout
    assert "10.77.0.1:9092: a SuperLink of this authority answers" in good.stdout
    part = MarketPart(tmp_path / MARKET)
    shutil.copytree(host.part.path, part.path)
    other = Authority.create("somebody else")
    other.write(part.authority, tmp_path / "ca.key")
    other.issue(["node", f"node-{MARKET}"], part.certificate, part.key)
    bad = host.run("deploy", "check", str(part.path))
    assert bad.returncode == 1
    assert "10.77.0.1:9092: unable to get local issuer certificate" in bad.stdout


def test_masked_sums(tmp_path: Path) -> None:
    """Markets that sign for masked sums with their node keys: nobody's update is seen, and the sum is right."""
    settings = [*QUICK, "masks.enabled=true", "evaluation.methods=[federated, popularity]"]
    with deployment(tmp_path, TINY, masks=True) as made:
        made.start()
        result = made.run("fecosr", "masked", *[word for setting in settings for word in ("--set", setting)])
        assert result.returncode == 0, result.stdout + result.stderr + made.logs()
        there = json.loads((made.run_folder("masked") / "summary.json").read_text())
        plain = made.run("fecosr", "plain", *[word for setting in QUICK for word in ("--set", setting)])
        assert plain.returncode == 1
        assert "takes part in masked sums alone" in plain.stderr
    assert all(record["accepted"] == sorted(TINY.markets) for record in there["rounds"])
    alone = prepare_simulation(load_recipe("fecosr", settings), made.data, tmp_path / "run").start()
    for market in TINY.markets:
        one, other = (summary["markets"][market]["results"]["federated"]["ndcg@10"] for summary in (there, alone))
        assert one == pytest.approx(other, abs=1e-3), "masks round to a grid of their own in every run"


def test_nothing_that_leaves_a_market_names_a_user_or_an_interaction(deployed: Deployment) -> None:
    """Every deployment of these tests is checked so when it ends; here it is seen that the check can fail."""
    deployed.assert_no_user_is_named()
    user = open_store(MarketPart(deployed.markets[MARKET].part.path).data).interactions["user_id"][0]
    note = deployed.coordinator.log("note")
    note.write_text(f"failed at user {user}")
    with pytest.raises(AssertionError, match=user):
        deployed.assert_no_user_is_named()
    note.unlink()
