"""Runs with a hand between the apps: replies can be watched, or spoilt."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Message

from fedrec.clients.app import app as client_app
from fedrec.data.store import MarketStore
from fedrec.recipe import Recipe, load_recipe
from fedrec.simulation.nodes import NodeConfig
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK

Spoil = Callable[[Message, Message], Message]  # (question, honest reply) -> reply


@dataclass
class WatchedApp:
    """The real ClientApp; remembers every reply and lets ``spoil`` replace those of one market."""

    victim: str = ""
    spoil: Spoil = lambda _question, reply: reply
    seen: list[Message] = field(default_factory=list)

    def __call__(self, message: Message, context: Context) -> Message:
        reply = client_app(message, context)
        if context.node_config["market"] == self.victim:
            reply = self.spoil(message, reply)
        self.seen.append(reply)
        return reply


class Stopped(KeyboardInterrupt):
    """As by Ctrl-C: nobody handles it."""


class Stopping:
    """The markets' app, in which the run is stopped at the second market that is asked for something in a round."""

    def __init__(self, action: str, number: int) -> None:
        self.action, self.number, self.seen = action, str(number), 0

    def __call__(self, message: Message, context: Context) -> Message:
        if (message.metadata.message_type, message.metadata.group_id) == (self.action, self.number):
            self.seen += 1
            if self.seen == 2:
                raise Stopped
        return client_app(message, context)


def quick(*overrides: str) -> Recipe:
    """FeCoSR in a second or two."""
    return load_recipe("fecosr", [*QUICK, *overrides])


def node_configs(stores: list[MarketStore], state: Path) -> list[NodeConfig]:
    """Nodes of a simulation without a run folder."""
    return [
        NodeConfig({"market": store.name, "data-path": str(store.path), "state-path": str(state)}, store.count)
        for store in stores
    ]


def run_with(app: WatchedApp, recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """A simulation with ``app`` in the markets' place."""
    return prepare_simulation(recipe, data, out).start(client_app=app)
