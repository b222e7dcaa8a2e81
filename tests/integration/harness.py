"""Runs with a hand between the apps: replies can be watched, or spoilt."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict

from clients.app import app as client_app
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.runs.folder import RunFolder
from fedrec.simulation.inline import InlineGrid
from fedrec.simulation.run import prepare_simulation
from server.app import app as server_app
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


def quick(*overrides: str) -> Recipe:
    """FeCoSR in a second or two."""
    return load_recipe("fecosr", [*QUICK, *overrides])


def run_with(app: Any, recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """As ``Simulation.start``, with another client app."""
    simulation = prepare_simulation(recipe, data, out)
    nodes = [
        {"market": store.name, "data-path": str(store.path), "state-path": str(out.parent)}
        for store in simulation.stores
    ]
    config = {
        "recipe": recipe_json(recipe),
        "run-folder": str(out),
        "markets": ",".join(store.name for store in simulation.stores),
        "engine": "inline",
        "dataset": data.name,
    }
    server_app(InlineGrid(app, nodes), Context(1, 0, {}, RecordDict(), config))
    return RunFolder(out).read_summary()


def files(directory: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
