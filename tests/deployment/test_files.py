"""What `fedrec deploy init` writes and `fedrec deploy check` sees; the compose files against Flower and docker."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import fedrec
from deploy.lock import image_needs
from deploy.make_compose import HEADER
from fedrec.data.synth import write_synthetic_markets
from fedrec.deployment.bundle import approve, own_bundle
from fedrec.deployment.check import Finding, check_folder
from fedrec.deployment.compose import demo_compose, whole_compose
from fedrec.deployment.connection import Connection
from fedrec.deployment.create import add_market, create_deployment, renew_certificates, rotate_key
from fedrec.deployment.demo import MARKETS, make_files
from fedrec.deployment.layout import DeploymentFolder
from fedrec.errors import UserError
from fedrec.strict_yaml import parse_yaml
from tests.conftest import TINY

ROOT = Path(fedrec.__file__).parents[1]
HOST = "127.0.0.1"


@pytest.fixture
def folder(tmp_path: Path) -> DeploymentFolder:
    made = create_deployment(tmp_path / "deployment", TINY.markets, HOST, masks=False)
    write_synthetic_markets(tmp_path / "data", TINY)
    for part in made.markets:
        part.data.rmdir()
        (tmp_path / "data" / part.name).rename(part.data)
        approve(part.approved, own_bundle(), "a test")
    approve(made.coordinator.approved, own_bundle(), "a test")
    return made


def problems(findings: list[Finding], *levels: str) -> list[str]:
    """What was found, but for ports: nothing runs here."""
    return [finding.what for finding in findings if finding.level in levels and ":9092: " not in finding.what]


def test_a_fresh_deployment_is_in_order(folder: DeploymentFolder) -> None:
    assert problems(check_folder(folder.path), "warn", "fail") == []
    for part in (folder.coordinator, *folder.markets):
        assert problems(check_folder(part.path), "warn", "fail") == []


def test_nothing_is_overwritten(folder: DeploymentFolder) -> None:
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        create_deployment(folder.path, ["x"], None, masks=False)
    with pytest.raises(UserError, match="exists; choose another name"):
        add_market(folder.path, "alfa")
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_private_files_are_their_owners_alone(folder: DeploymentFolder) -> None:
    """Whatever file holds a private key or a secret, wherever it lies."""
    private = [
        path
        for path in folder.path.rglob("*")
        if path.is_file() and (b"PRIVATE KEY" in path.read_bytes() or path.suffix == ".secret")
    ]
    assert len(private) == 1 + 2 + 3 * len(TINY.markets)
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    secrets = [path.read_bytes() for path in private]
    assert len(set(secrets)) == len(secrets), "no secret is used twice"


def test_no_part_holds_anothers_secrets(folder: DeploymentFolder) -> None:
    """A part is carried to its host as it is."""
    parts = [folder.coordinator, *folder.markets]
    held = {
        part.path: {path.read_bytes() for path in part.path.rglob("*") if path.is_file() and path in part.secrets}
        for part in parts
    }
    for part in parts:
        others = set().union(*(held[other.path] for other in parts if other is not part))
        assert not others & {path.read_bytes() for path in part.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("spoil", "said", "remedy"),
    [
        (lambda f: f.markets[0].identity.chmod(0o640), "mode 0640, others can read it", "chmod 600"),
        (lambda f: f.markets[0].certificate.write_text("x"), "not a certificate in PEM form", ""),
        (lambda f: shutil.copy(f.markets[1].key, f.markets[0].key), "is not its key", "fedrec deploy renew"),
        (lambda f: shutil.copy(f.markets[1].identity, f.markets[0].identity), "does not fit", "rotate"),
        (lambda f: f.markets[0].authority.unlink(), "No such file", "copy this host's part again"),
        (lambda f: f.markets[0].approved.write_text(""), "does not approve", "fedrec deploy approve"),
        (lambda f: (f.markets[0].data / "market.yaml").unlink(), "not a market store", "import"),
        (
            lambda f: (f.markets[0].data.rename(f.path / "x"), shutil.copytree(f.markets[1].data, f.markets[0].data)),
            "holds market 'bravo', not 'alfa'",
            "right market",
        ),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(folder: DeploymentFolder, spoil: Any, said: str, remedy: str) -> None:
    spoil(folder)
    bad = [finding for finding in check_folder(folder.path) if finding.level != "ok" and ":9092: " not in finding.what]
    assert len(bad) == 1, bad
    assert said in bad[0].what
    assert remedy in bad[0].remedy


def test_certificates_that_run_out(folder: DeploymentFolder) -> None:
    now = datetime.now(UTC)
    assert all(
        "expires in 1" in text for text in problems(check_folder(folder.path, now + timedelta(days=380)), "warn")
    )
    late = problems(check_folder(folder.path, now + timedelta(days=400)), "fail")
    assert len(late) == 1 + len(TINY.markets)
    before = [path.read_bytes() for path in (part.certificate for part in folder.markets)]
    renew_certificates(folder.path)
    assert before != [path.read_bytes() for path in (part.certificate for part in folder.markets)]
    assert problems(check_folder(folder.path), "warn", "fail") == []


def test_a_market_more_and_a_fresh_key(folder: DeploymentFolder) -> None:
    added = add_market(folder.path, "delta")
    old = folder.market("bravo").identity.read_bytes()
    rotate_key(folder.path, "bravo")
    assert folder.market("bravo").identity.read_bytes() != old
    connection = Connection.open(str(folder.coordinator.path))
    assert list(connection.markets) == ["alfa", "bravo", "charlie", "delta"]
    assert len(set(connection.keys().values())) == 4
    for part in folder.markets:
        assert {path.stem for path in part.keys.iterdir()} == set(connection.markets)
    found = [finding.what for finding in check_folder(folder.path) if finding.level == "fail"]
    assert found == []
    assert added.name == "delta"


def test_connections_are_found_by_path_and_by_name(
    folder: DeploymentFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "europe").symlink_to(folder.coordinator.path)
    monkeypatch.setenv("FEDREC_HOME", str(home))
    assert Connection.open("europe").runs == folder.coordinator.runs
    with pytest.raises(UserError, match="--connection 'asia'"):
        Connection.open("asia")
    (folder.coordinator.connection).write_text("address: nowhere\n")
    with pytest.raises(UserError, match=r"connection\.yaml: address"):
        Connection.open("europe")


@pytest.mark.parametrize("host", ["fed.example.org:9092", "", "bücher.example", "-x", "a b"])
def test_hosts_that_are_none(tmp_path: Path, host: str) -> None:
    with pytest.raises(UserError, match="--host"):
        create_deployment(tmp_path / "x", ["a"], host, masks=False)


def test_what_it_was_made_with_is_remembered(tmp_path: Path) -> None:
    """A market that comes later must not undo what the others rely on."""
    made = create_deployment(tmp_path / ("long" * 30), ["a", "b"], None, masks=True)
    add_market(made.path, "c")
    nodes = [service for name, service in services(made.compose.read_text()).items() if name.startswith("node-")]
    assert len(nodes) == 3
    assert all("identity-key" in node["command"][-1] for node in nodes)


def test_containers_never_run_as_root(folder: DeploymentFolder) -> None:
    environment = folder.coordinator.environment
    values = dict(line.split("=") for line in environment.read_text().splitlines())
    assert values["FEDREC_UID"] != "0"
    assert folder.coordinator.key.stat().st_uid == int(values["FEDREC_UID"]), "who may read the keys"
    environment.write_text(environment.read_text().replace(values["FEDREC_UID"], "0"))
    assert any("runs containers as root" in text for text in problems(check_folder(folder.path), "fail"))


def test_a_market_has_a_floor_of_twenty_users_unless_its_operator_says_otherwise(folder: DeploymentFolder) -> None:
    for compose in (*(part.compose for part in folder.markets), ROOT / "docker-compose.yml"):
        markets = [line for line in compose.read_text().splitlines() if "data-path=" in line]
        assert markets
        assert all('min-users="${FEDREC_MIN_USERS:-20}"' in line for line in markets)
    values = parse_yaml((ROOT / "deploy" / "helm" / "fedrec" / "values.yaml").read_text(), "values")
    assert values["market"]["minUsers"] == 20


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away: needs root")
def test_root_gives_away_what_it_made_and_follows_no_link(folder: DeploymentFolder, tmp_path: Path) -> None:
    """A bundle can write below a market's state; the operator's root must not change owners at its word."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of root")
    part = folder.market("bravo")
    (part.state / "link").symlink_to(elsewhere)
    (part.path / "link").symlink_to(elsewhere)
    renew_certificates(folder.path)
    rotate_key(folder.path, "bravo")
    owner = int(dict(line.split("=") for line in part.environment.read_text().splitlines())["FEDREC_UID"])
    made = [part.key, part.certificate, part.identity, part.keys / "bravo.pub", folder.coordinator.key]
    assert {path.stat().st_uid for path in made} == {owner}
    assert elsewhere.stat().st_uid == 0
    assert folder.authority_key.stat().st_uid == 0


def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def test_the_repositorys_compose_file_is_the_generated_one() -> None:
    assert (ROOT / "docker-compose.yml").read_text() == demo_compose(MARKETS, HEADER)


def test_flags_are_flowers_own() -> None:
    """Compose files for earlier versions of Flower name flags that are gone."""
    program = {"superlink": "flower-superlink", "supernode": "flower-supernode"}
    checked = 0
    for service in services(whole_compose(".", ["a"], masks=False)).values():
        module = service["command"][2].rpartition(".")[2]
        flags = {word.partition("=")[0] for word in service["command"] if word.startswith("--")}
        if module in program:
            help_text = subprocess.run(
                [Path(sys.executable).with_name(program[module]), "--help"], capture_output=True, text=True, check=True
            ).stdout
        elif module == "executor":
            help_text = subprocess.run(
                [sys.executable, "-m", "fedrec.deployment.executor", "--help"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        else:
            continue
        known = set(help_text.replace("[", " ").replace("]", " ").split())
        assert flags <= known, flags - known
        checked += 1
    assert checked == 4


def test_containers_can_do_as_little_as_they_need() -> None:
    found = services(whole_compose(".", ["a", "b"], masks=False))
    for service in found.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].startswith("${FEDREC_UID:-10001}")
        assert "privileged" not in service
        assert service["mem_limit"]
        assert service["restart"] == "unless-stopped"
        assert "/tmp/alive" in service["healthcheck"]["test"][1]
    for market, other in (("a", "b"), ("b", "a")):
        executor, node = found[f"market-{market}"], found[f"node-{market}"]
        assert executor["networks"] == [f"inside-{market}"], "what holds the data reaches its own node alone"
        assert "volumes" not in node, "what reaches the network has no data"
        mounts = {
            volume.rpartition(":")[0] if volume.endswith(":ro") else volume: volume for volume in executor["volumes"]
        }
        assert f"./markets/{market}/data:/data" in mounts
        assert mounts[f"./markets/{market}/data:/data"].endswith(":ro")
        assert not any(f"markets/{other}" in volume for volume in executor["volumes"])
        assert not any(secret["source"].startswith(f"{other}-") for secret in executor["secrets"] + node["secrets"])
    networks = yaml.safe_load(whole_compose(".", ["a", "b"], masks=False))["networks"]
    closed = {"internal": True, "driver_opts": {"com.docker.network.bridge.inhibit_ipv4": "true"}}
    assert all(network == closed for name, network in networks.items() if name != "metrics")
    for name, service in found.items():
        exporter = name.startswith("metrics")
        assert ("metrics" in service["networks"]) == exporter, "what is reached from outside has numbers alone"
        assert not exporter or ([f"{name}:/metrics:ro"] == service["volumes"] and service["profiles"] == ["metrics"])


def test_the_demonstration_differs_only_in_where_files_lie() -> None:
    """What holds of the compose files for hosts holds of it: the same processes, rights and networks."""
    demo, hosts = (
        yaml.safe_load(text) for text in (demo_compose(["a", "b"], ""), whole_compose(".", ["a", "b"], False))
    )
    assert demo["networks"] == hosts["networks"]
    for name, service in hosts["services"].items():
        other = demo["services"][name]
        where = {"volumes", "secrets", "depends_on", "user", "pull_policy"}
        assert {key: value for key, value in service.items() if key not in where} == {
            key: value for key, value in other.items() if key not in where
        }
        writable = {target: kind != ["ro"] for _, target, *kind in map(_split, service.get("volumes", []))}
        writable |= {f"/run/secrets/{secret['target']}": False for secret in service.get("secrets", [])}
        assert writable == dict(_mount(volume) for volume in other["volumes"])
        assert other["user"] == "10001:10001"
    files = demo["services"]["files"]
    assert files["network_mode"] == "none", "what is root reaches nobody"
    assert [name for name, service in demo["services"].items() if "build" in service] == ["files"], "one build"


def _split(volume: str) -> list[str]:
    return volume.split(":")


def _mount(volume: Any) -> tuple[str, bool]:
    """Where it is seen, and whether it can be written there."""
    if isinstance(volume, str):
        return volume.split(":")[1], not volume.endswith(":ro")
    return volume["target"], not volume.get("read_only", False)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away: needs root")
def test_the_demonstrations_files_are_made_once(tmp_path: Path) -> None:
    made = make_files(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert [part.name for part in made.markets] == list(MARKETS)
    assert problems(check_folder(tmp_path), "warn", "fail") == []
    assert {path.stat().st_uid for path in before} == {10001}
    assert not list(tmp_path.rglob("ca.key")), "nothing more is signed"
    make_files(tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_the_image_is_locked_to_what_was_tested() -> None:
    """Every package that the project needs, in the version of the constraints, by hash; torch is the Dockerfile's."""
    lock = (ROOT / "deploy" / "requirements.txt").read_text() + (ROOT / "deploy" / "build.txt").read_text()
    locked = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+) ", lock, re.MULTILINE))
    constraints = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    tested = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in constraints.items()}
    for need in image_needs():
        name = re.sub(r"[-_.]+", "-", re.split(r"[<>=\[]", need)[0]).lower()
        assert name == "torch" or name in locked, need
    assert {name: version for name, version in locked.items() if tested.get(name, version) != version} == {}
    assert f"ARG TORCH={tested['torch']}" in (ROOT / "Dockerfile").read_text()
    blocks = [block for block in re.split(r"\n(?=\S)", lock) if block]
    assert all("--hash=sha256:" in block for block in blocks)


def test_docker_compose_accepts_them(folder: DeploymentFolder, tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "docker compose version"], capture_output=True, check=False).returncode:
        pytest.skip("docker-compose is not installed: compose files are not held against its schema")
    one = create_deployment(tmp_path / "one", ["a", "b"], None, masks=True)
    market = folder.markets[0]
    alone = [one.compose, folder.coordinator.compose, market.compose, ROOT / "docker-compose.yml"]
    for paths in (*([path] for path in alone), [market.compose, market.gpu_compose]):
        words = [word for path in paths for word in ("-f", str(path))]
        command = ["docker", "compose", *words, "config", "--format", "json"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{paths}: {result.stderr}"
        assert not result.stderr, "nothing to warn of"
    (card,) = json.loads(result.stdout)["services"]["market"]["deploy"]["resources"]["reservations"]["devices"]
    assert (card["driver"], card["count"], card["capabilities"]) == ("nvidia", 1, ["gpu"])


def test_no_secret_in_the_repository_and_none_in_the_image() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a checkout")
    paths = [ROOT / name for name in tracked.split("\0") if name]
    assert not [path for path in paths if path.suffix in {".key", ".crt", ".pem", ".secret", ".pub", ".env"}]
    marker = b"-----BEGIN " + b"OPENSSH PRIVATE KEY"
    assert not [path for path in paths if path.is_file() and marker in path.read_bytes()]
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY") and "--from" not in line
        for word in line.split()[1:-1]
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*", "everything else stays outside"
