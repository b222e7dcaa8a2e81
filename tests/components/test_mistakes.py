"""Mistakes that an author of a component makes, and what is said of them."""

import re
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from fedrec.components import (
    FederatedPointwise,
    Loss,
    LossSettings,
    ParameterGroups,
    PointwiseAlgorithm,
    PointwiseSettings,
    registry,
)
from fedrec.components.loss import Items
from fedrec.errors import RunError, UserError
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK


class Model(FederatedPointwise):
    groups = ParameterGroups(shared=("items.",), private=("users.",))

    def __init__(self, sizes):
        super().__init__()
        self.users = nn.Embedding(sizes.users, 4)
        self.items = nn.Embedding(sizes.items, 4)

    def forward(self, request):
        return (self.users(request.users)[:, None] * self.items(request.items)).sum(-1)


class Undeclared(Model):
    groups = ParameterGroups(shared=("items.",), private=())


class AllShared(Model):
    groups = ParameterGroups(shared=("items.", "users."), private=())


class OneScore(Model):
    def forward(self, request):
        return super().forward(request).mean(dim=1)


def start(model: type[Model], data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Algorithm(PointwiseAlgorithm):
        class Settings(PointwiseSettings):
            kind: Literal["mistaken"] = "mistaken"

        @classmethod
        def model(cls):
            return model

    monkeypatch.setattr(registry, "_registered", {})
    registry.register("algorithm", "mistaken", Algorithm)
    small = ["algorithm.kind=mistaken", "federation.rounds=1", "evaluation.methods=[federated]"]
    quick = [word for word in QUICK if word.split(".")[0] in {"model", "training", "finetune", "ease", "evaluation"}]
    prepare_simulation(load_recipe("neumf", [*quick, *small]), data, out).start()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            Undeclared,
            "'mistaken': parameter 'users.weight' is in 0 groups; declare it shared or private",
        ),
        (AllShared, "parameter 'users.weight' is shared, and its shape depends on how many users"),
    ],
)
def test_a_model_that_no_federation_can_train_is_refused_before_it_begins(
    model: type[Model], said: str, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        start(model, synthetic, tmp_path / "run", monkeypatch)
    assert not (tmp_path / "run").exists()


def test_scores_of_another_shape_are_named(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((RunError, UserError), match="return one score for every user and item"):
        start(OneScore, synthetic, tmp_path / "run", monkeypatch)


@pytest.mark.parametrize("groups", [{"shared": "items.", "private": ()}, {"shared": ("items.",), "private": "users."}])
def test_a_text_is_no_tuple_of_prefixes(groups: dict) -> None:
    """Its letters would be: "users." lets through whatever begins with u, s, e or r."""
    with pytest.raises(TypeError, match=r"is a text and no tuple of prefixes; write \('\w+\.',\)"):
        ParameterGroups(**groups)


@pytest.mark.parametrize("rows", [lambda each: each.mean(), lambda each: each[:, None], lambda each: each[:-1]])
def test_a_loss_with_no_value_for_each_interaction_is_told(rows) -> None:
    class Mistaken(Loss):
        Settings = LossSettings

        def rows(self, queries, keys, targets):
            return rows((queries @ keys.T)[:, 0])

    loss = Mistaken(LossSettings(kind="mistaken"), Items(torch.zeros(5, 2), torch.ones(5, dtype=torch.bool)))
    with pytest.raises(RunError, match="for 3 interactions; return one value for each"):
        loss(torch.ones(3, 2), torch.ones(5, 2), torch.zeros(3, dtype=torch.int64))
