"""The local loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedrec.data.store import open_store
from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from fedrec.training.device import choose_device, choose_precision
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


@pytest.mark.parametrize("encoder", ["transformer", "bert4rec", "gru4rec"])
def test_half_the_bits_learn_what_all_do(synthetic: Path, encoder: str) -> None:
    """In bfloat16 the encoder's products have eight bits; its parameters, losses and scores keep float32."""
    words, losses = [f"encoder.kind={encoder}", "model.dropout=0"], {}
    for precision in ("float32", "bfloat16"):
        trainer = make_trainer(synthetic, *words, f"training.precision={precision}")
        assert trainer.model.precision == getattr(torch, precision)
        losses[precision] = [trainer.pretrain_round(number).loss for number in range(1, 5)]
        assert {value.dtype for value in trainer.model.state_dict().values()} == {torch.float32}
        assert model_scores(trainer.model, trainer.market.test.histories, np.arange(5)).dtype == np.float32
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


def test_what_is_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_precision("auto", cpu) == torch.float32
    assert choose_precision("auto", gpu) == torch.bfloat16
    assert choose_precision("float32", gpu) == torch.float32
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert (choose_device("auto"), choose_device("cpu"), choose_device("cuda")) == (gpu, cpu, gpu)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto") == cpu
    with pytest.raises(UserError, match=r"training\.device = cuda: no CUDA device on this machine"):
        choose_device("cuda")
