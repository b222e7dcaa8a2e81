"""What containers can reach and do, seen from inside."""

import json

import pytest

from tests.containers.engine import IMAGE, Project, run

pytestmark = pytest.mark.containers

REACH = """
import json, socket, sys
found = {}
for name, host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), 2).close()
        found[name] = "reached"
    except OSError as error:
        # An answer that refuses is an answer: the other side was reached.
        found[name] = "reached" if isinstance(error, ConnectionRefusedError) else "unreachable"
print(json.dumps(found))
"""
SECRETS = """
import json, os, pathlib, stat
folder = pathlib.Path("/run/secrets")
print(json.dumps({p.name: oct(stat.S_IMODE(p.stat().st_mode)) for p in folder.iterdir()} if folder.exists() else {}))
"""
RIGHTS = """
import json, os, pathlib
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def writable(path):
    try:
        open(os.path.join(path, "x"), "w").close()
        return True
    except OSError:
        return False
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": int(status["NoNewPrivs"]), "seccomp": int(status["Seccomp"]),
    "writable": [path for path in ("/", "/venv", "/opt/fedrec", "/etc", "/data", "/run/secrets") if writable(path)],
    "ipv6": [line for line in open("/proc/net/if_inet6") if not line.endswith(" lo\\n")],
}))
"""


def addresses(project: Project, service: str) -> dict[str, str]:
    """By network, in the engine's words."""
    return {name: one["IPAddress"] for name, one in project.inspect(service)["NetworkSettings"]["Networks"].items()}


def gateways() -> list[tuple[str, str]]:
    """Every address that this machine has: its own, and those of all bridges."""
    found = run("ip", "-j", "-4", "addr").stdout
    return [
        (f"host {link['ifname']}", one["local"])
        for link in json.loads(found)
        for one in link["addr_info"]
        if link["ifname"] != "lo"
    ]


def first_of(address: str) -> str:
    return ".".join([*address.split(".")[:3], "1"])


def test_a_market_reaches_its_node_and_nothing_else(up: Project) -> None:
    inside = addresses(up, "market-alfa")
    assert len(inside) == 1
    (network,) = inside
    targets = [(name, host, port) for name, host in gateways() for port in (22, 80, 2375)]
    targets += [("its gateway", first_of(inside[network]), 22)]
    for service in ("superlink", "coordinator", "node-bravo", "market-bravo"):
        targets += [(f"{service} on {name}", host, 9092) for name, host in addresses(up, service).items()]
    targets += [("the internet", "1.1.1.1", 443), ("the internet's names", "1.1.1.1", 53)]
    targets += [
        (f"{name} by name", name, 9092) for name in ("superlink", "coordinator", "node-bravo", "host.docker.internal")
    ]
    targets += [("the other side of its node", addresses(up, "node-alfa")[f"{up.name}_fleet"], 9094)]
    found = json.loads(up.python("market-alfa", REACH, json.dumps(targets)))
    assert {name for name, how in found.items() if how == "reached"} == set(), found
    node = [("its node", "node-alfa", 9094)]
    assert json.loads(up.python("market-alfa", REACH, json.dumps(node))) == {"its node": "reached"}


def test_the_machine_could_be_reached_if_it_were_not_closed(up: Project) -> None:
    """The check above can fail: an internal network as docker makes it leads to the machine around it."""
    name = "fedrec-test-open"
    run("docker", "network", "create", "--internal", name)
    try:
        (config,) = json.loads(run("docker", "network", "inspect", name).stdout)
        gateway = config["IPAM"]["Config"][0]["Gateway"]
        words = ["docker", "run", "--rm", "--network", name, "fedrec:test", "python", "-c", REACH]
        found = run(*words, json.dumps([("its gateway", gateway, 22)]))
        assert json.loads(found.stdout) == {"its gateway": "reached"}
    finally:
        run("docker", "network", "rm", name)


@pytest.mark.parametrize("service", ["coordinator", "node-alfa", "superlink"])
def test_no_container_reaches_the_machine_or_the_internet(up: Project, service: str) -> None:
    targets = [(name, host, 22) for name, host in gateways()] + [("the internet", "1.1.1.1", 443)]
    targets += [(f"gateway of {name}", first_of(host), 22) for name, host in addresses(up, service).items()]
    found = json.loads(up.python(service, REACH, json.dumps(targets)))
    assert {name for name, how in found.items() if how == "reached"} == set()


@pytest.mark.parametrize("service", ["market-alfa", "node-alfa", "coordinator", "superlink"])
def test_processes_have_no_rights(up: Project, service: str) -> None:
    found = json.loads(up.python(service, RIGHTS))
    assert (found["uid"], found["gid"]) == (10001, 10001)
    assert found["capabilities"] == 0
    assert found["no_new_privileges"] == 1
    assert found["seccomp"] == 2
    assert found["writable"] == []
    assert found["ipv6"] == []
    host = up.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] == 512


def test_secrets_are_their_owners_alone(up: Project) -> None:
    for service in ("market-alfa", "node-alfa", "coordinator", "superlink"):
        modes = json.loads(up.python(service, SECRETS))
        private = {name: mode for name, mode in modes.items() if not name.endswith(".crt")}
        assert private
        assert set(private.values()) == {"0o600"}, service
    assert set(json.loads(up.python("market-alfa", SECRETS))) == {"ca.crt", "executor.secret"}, "not the node's key"
    assert up.inside("node-alfa", "ls", "/data").returncode != 0, "what reaches the network has no data"


def test_logs_are_short_and_without_colours(up: Project) -> None:
    said = "".join(up.said(service) for service in up.services())
    assert "waiting for tasks" in said
    assert "\x1b[" not in said
    assert "BEGIN PUBLIC KEY" not in said
    assert "PRIVATE" not in said


def test_numbers_are_served_by_a_container_that_has_nothing_else(up: Project) -> None:
    """As Prometheus reads them, from the profile's network; executors are not on it."""
    services = ["metrics-coordinator", "metrics-alfa"]
    started = up.compose("--profile", "metrics", "up", "-d", "--no-build", *services)
    assert started.returncode == 0, started.stderr
    code = (
        "import sys, time, urllib.request\n"
        "for _ in range(60):\n"
        "    try:\n"
        "        print(urllib.request.urlopen(f'http://{sys.argv[1]}:9095/metrics', timeout=5).read().decode())\n"
        "        break\n"
        "    except OSError: time.sleep(0.5)\n"
    )
    words = ["docker", "run", "--rm", "--network", f"{up.name}_metrics", IMAGE, "python", "-c", code]
    coordinator = run(*words, "metrics-coordinator").stdout
    assert 'fedrec_nodes{status="online"} 3' in coordinator
    assert 'fedrec_certificate_days{certificate="server"} 39' in coordinator
    assert "# TYPE fedrec_answers" in run(*words, "metrics-alfa").stdout
    for service in services:
        assert up.inside(service, "ls", "/run/secrets").stdout == ""
        for folder in ("/data", "/state", "/deployment"):
            assert up.inside(service, "ls", folder).returncode != 0
        found = json.loads(up.python(service, RIGHTS))
        assert (found["uid"], found["capabilities"], found["writable"]) == (10001, 0, [])
    assert run(*words, "market-alfa").stdout == "", "nobody there is called so"
