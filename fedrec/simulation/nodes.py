"""The markets of a simulation as nodes, and what every engine must set before Flower's messages can be made here."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedrec.recipe import Recipe, plugins_of

RUN_ID, TASK_ID, SERVER_NODE = 1, 1, 1
HONEST_APP = "fedrec.clients.app:app"


@dataclass(frozen=True)
class NodeConfig:
    """One market of a simulation: its node configuration, and how much there is to compute."""

    config: Mapping[str, str]
    interactions: int

    @property
    def market(self) -> str:
        """The market's name."""
        return self.config["market"]

    def context(self, node: int) -> Context:
        """What Flower hands to the market's app."""
        return Context(RUN_ID, node, dict(self.config), RecordDict(), {})


def allowances(recipe: Recipe) -> dict[str, str]:
    """What a node's operator has to allow for a recipe: on one machine that is whoever runs it."""
    return {"text-model": recipe.text_model or "", "plugins": ",".join(plugins_of(recipe))}


def load_app(reference: str) -> Any:
    """The markets' app that ``module:attribute`` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def set_identity() -> None:
    """Say who speaks. Not public; otherwise Flower's own processes do it."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = TASK_ID, RUN_ID, SERVER_NODE
