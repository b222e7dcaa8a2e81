"""The Helm chart: what the cluster would accept, and the same processes, rights and ways as in the compose files."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fedrec.deployment.alive import STALE_SECONDS
from fedrec.deployment.compose import coordinator_compose, market_compose
from fedrec.deployment.names import resolve_by_environment, resolving
from fedrec.errors import UserError

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "fedrec"
HELM = Path(sys.executable).with_name("helm")
FILES = {"secret": "part", "public": "public", "keys": "keys"}
COORDINATOR = {"role": "coordinator", "files": FILES}
MARKET = {
    "role": "market",
    "files": FILES,
    "market": {"name": "jp", "superlink": "fed.example.org:9092", "dataClaim": "store"},
}
MASKED = {**MARKET, "market": {**MARKET["market"], "masks": True}}  # type: ignore[dict-item]
ROLES = {"coordinator": COORDINATOR, "market": MARKET, "masked": MASKED}


def helm(folder: Path, values: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    command = [HELM, *words, CHART, "-f", folder / "values.yaml"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    made = helm(folder, values, "template", "europe")
    assert made.returncode == 0, made.stderr
    return [document for document in yaml.safe_load_all(made.stdout) if document]


def containers(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for pod in pods(documents) for one in pod["containers"]}


def pods(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [document["spec"]["template"]["spec"] for document in documents if "template" in document["spec"]]


def policies(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = [document for document in documents if document["kind"] == "NetworkPolicy"]
    return {document["metadata"]["labels"]["app.kubernetes.io/component"]: document["spec"] for document in found}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("metrics", [False, True])
def test_a_cluster_would_accept_it(role: str, metrics: bool, tmp_path: Path) -> None:
    values = {**ROLES[role], "metrics": {"enabled": metrics}}
    linted = helm(tmp_path, values, "lint", "--strict")
    assert linted.returncode == 0, linted.stdout
    documents = rendered(tmp_path, values)
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, 'role: ""; coordinator or market'),
        ({**MARKET, "files": {"secret": "part"}}, "files.public: name the ConfigMap"),
        ({**MARKET, "files": {"secret": "part", "public": "public"}}, "files.keys: name the ConfigMap"),
        ({**MARKET, "market": {"name": "jp", "dataClaim": "store"}}, "market.superlink: HOST:PORT"),
        (
            {**MARKET, "market": {**MARKET["market"], "mostEpsilon": 8}},
            "are called market.maxEpsilon and market.minMarkets now",
        ),
    ],
)
def test_what_is_missing_is_said(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    made = helm(tmp_path, values, "template", "europe")
    assert made.returncode == 1
    assert said in made.stderr


def outside_paths(words: list[str]) -> list[str]:
    """A command without where its files lie."""
    return [word.rpartition("/")[2] if word.startswith("--") and "/" in word else word for word in words]


@pytest.mark.parametrize("role", ROLES)
def test_the_processes_are_those_of_the_compose_files(role: str, tmp_path: Path) -> None:
    text = coordinator_compose(".") if role == "coordinator" else market_compose(".", "jp", role == "masked")
    services = yaml.safe_load(text)["services"]
    found = containers(rendered(tmp_path, ROLES[role]))
    assert set(found) == {name for name in services if name != "metrics"}
    for name, container in found.items():
        ours, theirs = outside_paths(container["command"]), outside_paths(services[name]["command"])
        if name == "node":
            settings = [dict(word.split("=", 1) for word in words.pop().split()) for words in (ours, theirs)]
            old = {"most-epsilon", "least-markets"}  # a chart's values under old names are refused
            assert settings[0].keys() == settings[1].keys() - old
            place = next(index for index, word in enumerate(ours) if word.startswith("--superlink"))
            del ours[place], theirs[place]
        assert ours == theirs
        assert str(STALE_SECONDS) in container["readinessProbe"]["exec"]["command"][-1]


@pytest.mark.parametrize("role", ROLES)
def test_containers_can_do_as_little_as_they_need(role: str, tmp_path: Path) -> None:
    documents = rendered(tmp_path, {**ROLES[role], "metrics": {"enabled": True}})
    for pod in pods(documents):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.get("hostNetwork")
    for container in containers(documents).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_a_market_reaches_its_node_alone(tmp_path: Path) -> None:
    documents = rendered(tmp_path, MARKET)
    market, node = policies(documents)["market"], policies(documents)["node"]
    assert market["policyTypes"] == node["policyTypes"] == ["Ingress", "Egress"]
    (way,) = market["egress"]
    assert way["ports"] == [{"port": 9094, "protocol": "TCP"}]
    ((peer,),) = (way["to"],)
    assert peer == {"podSelector": {"matchLabels": labels_of(documents, "node")}}
    assert market["ingress"] == []
    assert {port["port"] for one in node["egress"] for port in one["ports"]} == {9092, 53}
    (pod,) = [pod for pod in pods(documents) if pod["containers"][0]["name"] == "market"]
    assert pod["dnsPolicy"] == "None", "names would carry words out"
    environment = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert environment["FEDREC_RESOLVE"] == "node=$(EUROPE_NODE_SERVICE_HOST)"


def labels_of(documents: list[dict[str, Any]], component: str) -> dict[str, str]:
    found = [one["spec"]["template"]["metadata"]["labels"] for one in documents if "template" in one["spec"]]
    (labels,) = [one for one in found if one["app.kubernetes.io/component"] == component]
    return dict(labels)


def test_the_coordinator_reaches_nobody(tmp_path: Path) -> None:
    policy = policies(rendered(tmp_path, COORDINATOR))["coordinator"]
    assert policy["egress"] == []
    assert [port["port"] for one in policy["ingress"] for port in one["ports"]] == [9092]


def test_nobody_gets_what_is_not_theirs(tmp_path: Path) -> None:
    """What reaches the network has no data; what has the data has no node key, unless it signs for masked sums."""
    for values, keys in ((MARKET, {"ca.crt", "executor.secret"}), (MASKED, {"ca.crt", "executor.secret", "node.key"})):
        documents = rendered(tmp_path, values)
        node, market = (
            next(pod for pod in pods(documents) if pod["containers"][0]["name"] == name) for name in ("node", "market")
        )
        assert not any("persistentVolumeClaim" in volume for volume in node["volumes"])
        (secret,) = [volume["secret"] for volume in market["volumes"] if "secret" in volume]
        assert {item["key"] for item in secret["items"]} == keys
        mounts = {mount["name"]: mount for mount in market["containers"][0]["volumeMounts"]}
        assert mounts["data"]["readOnly"] is True
    exporter = containers(rendered(tmp_path, {**MARKET, "metrics": {"enabled": True}}))["metrics"]
    assert {mount["mountPath"] for mount in exporter["volumeMounts"]} == {"/tmp", "/metrics"}


def test_a_name_without_a_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    look_up = resolving(lambda host, *_, **__: asked.append(host), "node", "10.0.0.7")
    for host in ("node", b"node", "node.example", None):
        look_up(host, 9094, type=socket.SOCK_STREAM)
    assert asked == ["10.0.0.7", "10.0.0.7", "node.example", None]
    monkeypatch.setenv("FEDREC_RESOLVE", "node=$(EUROPE_NODE_SERVICE_HOST)")
    with pytest.raises(UserError, match="FEDREC_RESOLVE="):
        resolve_by_environment()
