"""Compose files: which processes a deployment has, what each may see, and what it may not.

The SuperLink keeps its state in memory: nothing that a market sent rests on the coordinator's disk, runs are taken up
from our own checkpoints, and `fedrec run` registers the nodes it needs.

A market has two containers. Its node speaks with the SuperLink and has no data. Its executor has the data, runs the
approved bundle, and reaches nothing but its node. The coordinator's executor shares the SuperLink's network, because
the SuperLink starts runs for its own host alone.
"""

from typing import Any

import yaml

from fedrec.deployment.layout import NODE_PORT, SUPERLINK_PORT

IMAGE = "fedrec:${FEDREC_VERSION:-latest}"
HEALTH_PORT, EXECUTOR_HEALTH_PORT = 8081, 8082  # two, for a host may run both in one network
DEPLOYMENT = "/deployment"  # the coordinator's part, inside its container
_HEADER = """\
# Made by `fedrec deploy init`; docs/how-to/deploy.md explains it. Change the .env beside it rather than this file.
"""

Service = dict[str, Any]


def compose_text(content: dict[str, Any], header: str = _HEADER) -> str:
    """The file."""
    return header + yaml.safe_dump(content, sort_keys=False, width=120)


def whole_compose(parts: str, markets: list[str], masks: bool, build: str | None = None) -> dict[str, Any]:
    """All parts on one machine. ``parts``: the deployment's folder as seen from the compose file."""
    content = coordinator_compose(f"{parts}/coordinator", build)
    for market in markets:
        one = market_compose(f"{parts}/markets/{market}", market, masks, suffix=f"-{market}", build=build)
        for section, entries in one.items():
            content.setdefault(section, {}).update(entries)
        node = content["services"][f"node-{market}"]
        node["networks"] = ["fleet", f"inside-{market}"]
        node["depends_on"] = {"superlink": {"condition": "service_healthy"}}
    content["services"]["superlink"].pop("ports")
    content["services"]["superlink"]["networks"] = ["fleet"]
    content["networks"] = {"fleet": {"internal": True}, **{f"inside-{m}": {"internal": True} for m in markets}}
    return content


def coordinator_compose(part: str, build: str | None = None) -> dict[str, Any]:
    """The coordinator's host. ``part``: its folder as seen from the compose file."""
    superlink = _service(
        "superlink",
        [
            *["--isolation", "process", "--enable-supernode-auth", "--disable-runtime-dependency-installation"],
            *["--host", "0.0.0.0", "--port", str(SUPERLINK_PORT)],  # noqa: S104  of a container
            *["--ssl-ca-certfile", "/run/secrets/ca.crt"],
            *["--ssl-certfile", "/run/secrets/server.crt", "--ssl-keyfile", "/run/secrets/server.key"],
            *["--superexec-auth-secret-file", "/run/secrets/executor.secret"],
        ],
        build=build,
    )
    # Every poll of every node is a line of its access log.
    superlink["environment"] = {"FLWR_LOG_LEVEL": "${FEDREC_LOG_LEVEL:-WARNING}"}
    superlink["ports"] = [f"{SUPERLINK_PORT}:{SUPERLINK_PORT}"]
    executor = _service(
        "executor",
        [
            *["coordinator", "--runtime-api-address", f"127.0.0.1:{SUPERLINK_PORT}"],
            *["--root-certificates", "/run/secrets/ca.crt"],
            *["--superexec-auth-secret-file", "/run/secrets/executor.secret"],
            *["--approved", f"{DEPLOYMENT}/consent/approved.txt", "--bundles", "/tmp/bundles"],  # noqa: S108  tmpfs
        ],
        build=build,
    )
    executor["network_mode"] = "service:superlink"
    executor["depends_on"] = {"superlink": {"condition": "service_healthy"}}
    executor["environment"] = {"FEDREC_RUNS": f"{DEPLOYMENT}/runs"}
    executor["volumes"] = [
        *[f"{part}/{name}:{DEPLOYMENT}/{name}:ro" for name in ("connection.yaml", "ca.crt", "keys", "consent")],
        f"{part}/runs:{DEPLOYMENT}/runs",
    ]
    names = ["ca.crt", "server.crt", "server.key", "executor.secret"]
    superlink["secrets"] = _granted("coordinator", names)
    executor["secrets"] = _granted("coordinator", ["ca.crt", "executor.secret"])
    return {
        "services": {"superlink": superlink, "coordinator": executor},
        "secrets": _secrets("coordinator", part, names),
    }


def market_compose(part: str, market: str, masks: bool, suffix: str = "", build: str | None = None) -> dict[str, Any]:
    """One market's host. ``part``: its folder as seen from the compose file; ``suffix`` of its services."""
    config = {"market": market, "data-path": "/data", "state-path": "/state"}
    if masks:
        config |= {"identity-key": "/run/secrets/node.key", "market-keys": "/keys"}
    words = " ".join(f'{key}="{value}"' for key, value in config.items())
    node = _service(
        "supernode",
        [
            *["--isolation", "process", "--superlink", f"${{FEDREC_SUPERLINK:-superlink:{SUPERLINK_PORT}}}"],
            *["--root-certificates", "/run/secrets/ca.crt"],
            *["--auth-supernode-private-key", "/run/secrets/node.key"],
            *["--host", "0.0.0.0", "--port", str(NODE_PORT)],  # noqa: S104  of a container
            *["--ssl-ca-certfile", "/run/secrets/ca.crt"],
            *["--ssl-certfile", "/run/secrets/server.crt", "--ssl-keyfile", "/run/secrets/server.key"],
            *["--superexec-auth-secret-file", "/run/secrets/executor.secret"],
            *["--node-config", words],
        ],
        build=build,
    )
    executor = _service(
        "executor",
        [
            *["market", "--runtime-api-address", f"node{suffix}:{NODE_PORT}"],
            *["--root-certificates", "/run/secrets/ca.crt"],
            *["--superexec-auth-secret-file", "/run/secrets/executor.secret"],
            *["--approved", "/consent/approved.txt", "--bundles", "/tmp/bundles"],  # noqa: S108  tmpfs
        ],
        build=build,
    )
    node["networks"] = ["default", f"inside{suffix}"]
    executor["networks"] = [f"inside{suffix}"]
    executor["depends_on"] = {f"node{suffix}": {"condition": "service_healthy"}}
    executor["volumes"] = [
        f"{part}/data:/data:ro",
        f"{part}/state:/state",
        f"{part}/consent:/consent:ro",
        f"{part}/keys:/keys:ro",
    ]
    own = ["ca.crt", "server.crt", "server.key", "executor.secret", "node.key"]
    node["secrets"] = _granted(market, own)
    executor["secrets"] = _granted(market, ["ca.crt", "executor.secret", *(["node.key"] if masks else [])])
    return {
        "services": {f"node{suffix}": node, f"market{suffix}": executor},
        "networks": {f"inside{suffix}": {"internal": True}},
        "secrets": _secrets(market, part, own),
    }


def _service(module: str, arguments: list[str], build: str | None) -> Service:
    """What all containers have in common: as little as a container can have."""
    health = f"127.0.0.1:{EXECUTOR_HEALTH_PORT if module == 'executor' else HEALTH_PORT}"
    command = ["python", "-m", f"fedrec.deployment.{module}", *arguments, "--health-server-address", health]
    return {
        "image": IMAGE,
        **({"build": {"context": build, "args": {"TORCH_INDEX": "${TORCH_INDEX:-}"}}} if build is not None else {}),
        "command": command,
        "user": "${FEDREC_UID:-10001}:${FEDREC_GID:-10001}",
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": 512,
        "restart": "unless-stopped",
        "init": True,
        "healthcheck": {
            "test": ["CMD", "python", "-m", "fedrec.deployment.health", health],
            "interval": "10s",
            "timeout": "5s",
            "retries": 6,
            "start_period": "30s",
        },
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }


def _granted(owner: str, names: list[str]) -> list[dict[str, str]]:
    return [{"source": _secret(owner, name), "target": name} for name in names]


def _secrets(owner: str, part: str, names: list[str]) -> dict[str, dict[str, str]]:
    return {_secret(owner, name): {"file": f"{part}/{name}"} for name in names}


def _secret(owner: str, name: str) -> str:
    return f"{owner}-{name.replace('.', '-')}"
