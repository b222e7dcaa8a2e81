"""Compose files: which processes a deployment has, what each may see, and what it may not. See the template.

The SuperLink keeps its state in memory: nothing that a market sent rests on the coordinator's disk, runs are taken up
from our own checkpoints, and the coordinator lets the nodes in again. So every process may start, end and come back in
any order.
"""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedrec.deployment.alive import STALE_SECONDS
from fedrec.deployment.layout import METRICS_PORT, NODE_PORT, SUPERLINK_PORT

_HEADER = """\
# Made by `fedrec deploy init`; docs/how-to/deploy.md explains it. Change the .env beside it rather than this file."""


def whole_compose(parts: str, markets: Sequence[str], masks: bool) -> str:
    """All parts on one machine. ``parts``: the deployment's folder as seen from the compose file."""
    return _render(f"{parts}/coordinator", [_market(f"{parts}/markets/{m}", m, masks, f"-{m}") for m in markets], masks)


def demo_compose(markets: Sequence[str], header: str) -> str:
    """The same in a volume, with the image built here and two services more: for the files, and for one run."""
    found = [_market(f"markets/{market}", market, False, f"-{market}") for market in markets]
    return _render("coordinator", found, masks=False, header=header, volume="made")


def coordinator_compose(part: str) -> str:
    """The coordinator's host. ``part``: its folder as seen from the compose file."""
    return _render(part, [], masks=False)


def market_compose(part: str, market: str, masks: bool) -> str:
    """One market's host. ``part``: its folder as seen from the compose file."""
    return _render(None, [_market(part, market, masks, "")], masks)


def gpu_compose() -> str:
    """What a market's host with a card adds: its executor gets one. Read beside the market's compose file."""
    return f"""{_HEADER}
# COMPOSE_FILE=compose.yaml:compose.gpu.yaml in the .env gives the market's executor a card; the image must be the CUDA
# variant (see the Dockerfile), the engine must have NVIDIA's container toolkit.
services:
  market:
    mem_limit: ${{FEDREC_MARKET_MEMORY:-16g}}
    deploy: {{resources: {{reservations: {{devices: [{{driver: nvidia, count: 1, capabilities: [gpu]}}]}}}}}}
"""


def _market(part: str, name: str, masks: bool, suffix: str) -> dict[str, str]:
    config = {"market": name, "data-path": "/data", "state-path": "/state"}
    # A bound that was set under its name of the version before holds, too: the node takes the stricter one.
    config |= {"max-epsilon": "${FEDREC_MAX_EPSILON:-}", "most-epsilon": "${FEDREC_MOST_EPSILON:-}"}
    config |= {"min-users": "${FEDREC_MIN_USERS:-20}", "plugins": "${FEDREC_PLUGINS:-}"}
    if masks:
        config |= {"identity-key": "/run/secrets/node.key", "market-keys": "/keys"}
        config |= {"min-markets": "${FEDREC_MIN_MARKETS:-2}", "least-markets": "${FEDREC_LEAST_MARKETS:-}"}
    words = " ".join(f'{key}="{value}"' for key, value in config.items())
    return {"name": name, "part": part, "suffix": suffix, "config": f"'{words}'"}


def _render(
    coordinator: str | None, markets: list[dict[str, str]], masks: bool, header: str = _HEADER, volume: str = ""
) -> str:
    environment = Environment(  # noqa: S701  YAML, and every name in it is a checked market name
        loader=PackageLoader("fedrec.deployment"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("compose.yaml.j2").render(
        header=header,
        coordinator=coordinator,
        markets=markets,
        masks=masks,
        volume=volume,
        stale_seconds=STALE_SECONDS,
        superlink_port=SUPERLINK_PORT,
        node_port=NODE_PORT,
        metrics_port=METRICS_PORT,
    )
