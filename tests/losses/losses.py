"""Losses over the items of a model."""

import torch

from fedrec.components import Items, Loss, find
from fedrec.models.sequential import SequentialModel


def built(kind: str, items: Items, **settings: float) -> Loss:
    component = find("loss", kind)
    made: Loss = component(component.Settings(**settings), items)
    return made


def of_model(kind: str, model: SequentialModel, **settings: float) -> Loss:
    """All vectors are known."""
    return built(kind, Items(model.semantics, torch.ones(len(model.semantics), dtype=torch.bool)), **settings)


def cross_entropy(model: SequentialModel) -> Loss:
    return of_model("ce", model)
