"""What a deployment refuses: nodes, code, names and replies that are not what they should be."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrec.deployment.certificates import Authority
from fedrec.deployment.layout import CoordinatorPart, MarketPart
from fedrec.masking.identity import write_identity
from tests.conftest import QUICK, TINY
from tests.deployment.bundles import VICTIM, changed, lying, write
from tests.deployment.hosts import COORDINATOR, Deployment, Host, deployment

pytestmark = pytest.mark.deploy

SHORT = [*QUICK, "evaluation.methods=[federated, popularity]"]
WORDS = [word for setting in SHORT for word in ("--set", setting)]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("deployed"), TINY) as made:
        made.start()
        yield made


@pytest.fixture
def stranger(deployed: Deployment, tmp_path: Path) -> Iterator[Host]:
    """One more host, with a copy of a market's part whose node does not run there."""
    part = MarketPart(tmp_path / "part")
    shutil.copytree(deployed.folder.market(VICTIM).path, part.path)
    names = {"superlink": COORDINATOR, "elsewhere": COORDINATOR, "node": "127.0.0.1"}
    namespace = deployed.network.join("stranger", "10.77.0.99", names)
    host = Host(namespace, part, tmp_path / "host")
    host.scratch.mkdir()
    yield host
    host.stop()
    subprocess.run(["ip", "netns", "delete", namespace], check=False)
    shutil.rmtree(Path("/etc/netns") / namespace)


def stays_outside(host: Host, deployed: Deployment) -> None:
    """Start the node; it must not be let in, and say so once, however long it waits."""
    said = "not let in yet: this node's key is not in keys/"
    host.start("node")
    deployed.wait_for(lambda: said in host.log("node").read_text(), said)
    time.sleep(5)
    assert host.processes["node"].poll() is None, "it waits"
    assert host.log("node").read_text().count("not let in yet") == 1
    assert not deployed.healthy(host, "node")
    assert online(deployed) == len(TINY.markets)


def online(deployed: Deployment) -> int:
    result = deployed.coordinator.run("deploy", "nodes", str(deployed.coordinator.part.path))
    return result.stdout.count("online")


def test_a_node_that_is_no_markets(stranger: Host, deployed: Deployment) -> None:
    identity = MarketPart(stranger.part.path).identity
    identity.unlink()
    write_identity(identity, stranger.part.path / "new.pub")
    stays_outside(stranger, deployed)


def test_a_second_node_with_one_key(stranger: Host, deployed: Deployment) -> None:
    """The first is online, so the copy gets nowhere: nobody speaks for a market beside its own node."""
    stays_outside(stranger, deployed)


def test_a_superlink_of_another_authority(stranger: Host, deployed: Deployment) -> None:
    """A market's node does not speak to whoever answers at the coordinator's address."""
    Authority.create("somebody else").write(stranger.part.authority, stranger.part.path / "ca.key")
    stranger.start("node")
    said = "certificate verify failed"
    deployed.wait_for(lambda: said in stranger.log("node").read_text().lower(), said)
    assert "Receiving" not in stranger.log("node").read_text()


def test_a_certificate_that_expired(stranger: Host, deployed: Deployment, tmp_path: Path) -> None:
    """A SuperLink beside the real one, with the right authority and yesterday's certificate."""
    folder = deployed.folder
    part = CoordinatorPart(tmp_path / "coordinator")
    shutil.copytree(folder.coordinator.path, part.path, ignore=shutil.ignore_patterns("runs"))
    authority = Authority.read(folder.authority, folder.authority_key)
    long_ago = datetime.now(UTC) - timedelta(days=500)
    authority.issue(["superlink", "127.0.0.1"], part.certificate, part.key, now=long_ago)
    checked = stranger.run("deploy", "check", str(part.path))
    assert checked.returncode == 1
    assert "server.crt: expired on" in checked.stdout
    expired = Host(stranger.namespace, part, tmp_path / "expired", extra={"superlink": ["--port", "9099"]})
    expired.scratch.mkdir()
    expired.start("superlink")
    try:
        knock = "import socket; socket.create_connection(('127.0.0.1', 9099)).close()"
        deployed.wait_for(lambda: stranger.python(knock).returncode == 0, "the SuperLink to be up")
        stranger.extra["node"] = ["--superlink", "127.0.0.1:9099"]
        stranger.start("node")
        said = "certificate has expired"
        deployed.wait_for(lambda: said in stranger.log("node").read_text().lower(), said)
        assert not deployed.healthy(expired, "superlink"), "and its own host sees it"
    finally:
        expired.stop()


def test_plaintext(stranger: Host, deployed: Deployment) -> None:
    code = (
        "import httpx\n"
        "try:\n"
        "    print(httpx.post('http://superlink:9092/v1/fleet/activate-node', content=b'').status_code)\n"
        "except httpx.TransportError as error:\n"
        "    print(type(error).__name__)\n"
    )
    assert stranger.python(code).stdout.strip() == "RemoteProtocolError"


def test_a_false_name_is_refused_and_the_true_one_takes_part(deployed: Deployment) -> None:
    """Charlie's node, with charlie's key, says that it is bravo."""
    liar = deployed.markets["charlie"]
    lie = f'market="{VICTIM}" data-path="{deployed.folder.market(VICTIM).data}" state-path="{liar.scratch / "false"}"'
    liar.extra["node"] = ["--node-config", lie]
    liar.kill("node")
    process = deployed.coordinator.popen(*deployed.run_words("fecosr", "false", *WORDS))
    try:
        deployed.wait_for(lambda: deployed.events("false", "refused"), "the refusal", 90)
        (refused, *_) = deployed.events("false", "refused")
        assert (refused["market"], refused["reason"]) == (VICTIM, f"its key is not that of market {VICTIM!r}")
    finally:
        liar.extra.clear()
        liar.kill("node")  # and comes back with its own name
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert all(record["accepted"] == sorted(TINY.markets) for record in deployed.events("false", "round"))


def test_a_bundle_that_was_changed_runs_nowhere(deployed: Deployment, tmp_path: Path) -> None:
    """One byte more, and neither market nor coordinator imports anything of it."""
    traces = tmp_path / "traces"
    traces.mkdir()
    mark = f'\n__import__("pathlib").Path({str(traces)!r}, __name__).touch()\n'
    bundle = changed(
        {"fedrec/clients/__init__.py": mark, "fedrec/server/__init__.py": mark, "fedrec/__init__.py": mark}
    )
    path = write(bundle, tmp_path)
    first = deployed.submit(path, "fecosr", "unknown", *WORDS)
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 1
    assert f"bundle {bundle.hash} is not approved on the coordinator's host" in output
    coordinator = deployed.coordinator
    words = ["deploy", "approve", str(coordinator.part.path), "--bundle", str(path)]
    looked = coordinator.run(*words)
    assert looked.returncode == 1
    assert "differs from the version here in:\n  fedrec/__init__.py\n" in looked.stdout
    assert coordinator.run(*words, "--yes", bundle.hash).returncode == 0
    second = deployed.submit(path, "fecosr", "half-approved", *WORDS)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 1
    assert f"bundle {bundle.hash[:12]} is not approved by this market's operator" in output
    seen = {trace.name for trace in traces.iterdir()}
    assert "fedrec.clients" not in seen, "a market imported it"
    assert "fedrec.server" in seen, "the test's own mark works: the coordinator's operator had approved it"


def test_a_bundle_of_another_version(deployed: Deployment, tmp_path: Path) -> None:
    """Approved or not: what speaks with it through a pipe on the market's host is of this version."""
    bundle = changed({}, {"pyproject.toml": ('version = "0.1.0"', 'version = "0.2.0"')})
    deployed.approve(bundle)
    process = deployed.submit(write(bundle, tmp_path), "fecosr", "other-version", *WORDS)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the bundle is of fedrec 0.2.0, this market's host has 0.1.0; install one version everywhere" in output


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("wrong round", "round 7, expected 2"),
        ("too large", "keys: missing"),
        ("raises", "error 1: RuntimeError"),
    ],
)
def test_replies_that_lie(deployed: Deployment, tmp_path: Path, lie: str, reason: str) -> None:
    bundle = lying(lie)
    deployed.approve(bundle)
    name = lie.replace(" ", "-")
    process = deployed.submit(write(bundle, tmp_path), "fecosr", name, *WORDS)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    _, second, _ = deployed.events(name, "round")
    assert second["accepted"] == ["alfa", "charlie"]
    (rejected,) = second["rejected"]
    assert rejected["market"] == VICTIM
    assert rejected["reason"].startswith(reason)
    assert "alfa-00003" not in output + deployed.left_the_markets(), "an exception's text left the market"


def test_a_reply_above_the_limit_is_not_opened(deployed: Deployment, tmp_path: Path) -> None:
    bound = ("LARGEST_REPLY = 512 * 1024 * 1024", "LARGEST_REPLY = 1_000_000")
    bundle = lying("too large", {"fedrec/server/hosts.py": bound})
    deployed.approve(bundle)
    process = deployed.submit(write(bundle, tmp_path), "fecosr", "bounded", *WORDS)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    (rejected,) = deployed.events("bounded", "round")[1]["rejected"]
    assert "1000000 at most" in rejected["reason"]
