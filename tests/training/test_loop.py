"""The local loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedrec.data.store import open_store
from fedrec.recipe import load_recipe
from fedrec.training.loop import model_scores
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer
from tests.conftest import QUICK


def make_trainer(data: Path, *overrides: str) -> SequentialTrainer:
    settings = [*QUICK, "semantics.kind=hashing", "evaluation.protocol=temporal", *overrides]
    recipe = load_recipe("fecosr", settings)
    market = PreparedMarket(open_store(data / "alfa"), recipe)
    return SequentialTrainer.alone(recipe, market)


def test_pretraining_learns_and_moves_the_shared_group_alone(synthetic: Path) -> None:
    trainer = make_trainer(synthetic)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    losses = [trainer.pretrain_round(number).loss for number in range(1, 9)]
    assert losses[-1] < losses[0] - 0.1
    shared = set(trainer.model.shared_state())
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]) is (name not in shared), name


def test_finetuning_keeps_the_epoch_that_validated_best(synthetic: Path) -> None:
    """The reported score is that of the state kept, and never below that of the model as it came."""
    trainer = make_trainer(synthetic, "finetune.epochs=6")
    start = trainer.validation()
    finished = trainer.finetune()
    fresh = make_trainer(synthetic)
    fresh.load(finished.state)
    assert fresh.validation() == finished.validation >= start


def test_frozen_shared_parameters_stay(synthetic: Path) -> None:
    trainer = make_trainer(synthetic, "finetune.train_shared=false", "finetune.patience=10")
    before = trainer.model.shared_state()
    state = trainer.finetune().state
    assert all(torch.equal(state[name], value) for name, value in before.items())


def test_scores_do_not_depend_on_who_is_scored_together(synthetic: Path) -> None:
    """Users are padded to their batch's longest history: that must not reach their scores."""
    trainer = make_trainer(synthetic)
    histories = trainer.market.test.histories
    together = model_scores(trainer.model, histories, np.arange(20))
    for user in (0, 7, 19):
        alone = model_scores(trainer.model, histories, np.array([user]))
        np.testing.assert_allclose(alone[0], together[user], rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_bf16_on_a_gpu_learns_like_the_cpu(synthetic: Path) -> None:
    on_cpu, on_gpu = (make_trainer(synthetic, f"training.device={device}") for device in ("cpu", "cuda"))
    for number in range(1, 6):
        expected, found = on_cpu.pretrain_round(number).loss, on_gpu.pretrain_round(number).loss
    assert abs(found - expected) < 0.1
