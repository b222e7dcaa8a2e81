"""FedProx: the pull towards the parameters that came."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedrec.seeds import seeded_torch
from fedrec.training.loop import Anchor, epoch_batches, make_optimiser, train_epoch
from tests.training.test_loop import make_trainer


def small_model() -> nn.Module:
    with seeded_torch(0, "small"):
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()


def distances(model: nn.Module, start: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() - start[name] for name, parameter in model.named_parameters() if name in start}


@pytest.mark.parametrize("mu", [0.0, 0.5, 300.0])
def test_the_penalty_and_its_gradient(mu: float) -> None:
    """mu / 2 sum (w - w0)^2, whose derivative by w is mu (w - w0); parameters that are not named feel nothing."""
    model = small_model()
    start = {name: value.detach().cos() for name, value in model.named_parameters() if not name.startswith("1.")}
    penalty = Anchor(start, mu).penalty(model)
    by_loops = (
        mu / 2 * sum(float(d) ** 2 for difference in distances(model, start).values() for d in difference.ravel())
    )
    assert float(penalty.detach()) == pytest.approx(by_loops, rel=1e-12)
    penalty.backward()
    for name, parameter in model.named_parameters():
        if name in start:
            assert parameter.grad is not None
            np.testing.assert_allclose(parameter.grad, mu * distances(model, start)[name], rtol=1e-12, atol=1e-14)
        else:
            assert parameter.grad is None
    assert all(value.grad is None for value in start.values())


def test_at_the_start_there_is_no_pull() -> None:
    """The penalty's least value is 0, at w0, where its gradient is 0: the first step of a round is the loss's alone."""
    model = small_model()
    penalty = Anchor({name: value.detach().clone() for name, value in model.named_parameters()}, 10.0).penalty(model)
    assert float(penalty.detach()) == 0
    penalty.backward()
    assert all(not value.grad.any() for value in model.parameters())  # type: ignore[union-attr]


def test_gradient_steps_towards_the_anchor_shrink_the_distance_by_one_minus_mu_times_the_rate() -> None:
    """w - w0 after a step of plain gradient descent on the penalty alone: (1 - rate * mu) (w - w0)."""
    model = small_model()
    start = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    before = distances(model, start)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    Anchor(start, 2.0).penalty(model).backward()
    optimiser.step()
    for name, value in distances(model, start).items():
        np.testing.assert_allclose(value, 0.8 * before[name], rtol=1e-12)


def test_the_loss_reported_is_without_the_penalty(synthetic: Path) -> None:
    """One batch: the loss is computed before any step, so with and without an anchor far away it is the same; the step
    is not."""
    results, states = [], []
    for mu in (None, 5.0):
        trainer = make_trainer(synthetic, "model.dropout=0", "training.batch_size=4096")
        trainer.freeze(private=True, shared=False)
        start = {name: value + 1 for name, value in trainer.model.shared_state().items()}
        anchor = Anchor(start, mu or 0.0)
        terms = [] if mu is None else [lambda _, a=anchor, t=trainer: a.penalty(t.model)]
        training = trainer.stages.training
        batches = list(epoch_batches(trainer.market.train, training, trainer.model, np.random.default_rng(0)))
        assert len(batches) == 1
        optimiser = make_optimiser(trainer.model, training, 1e-2)
        loss = partial(trainer.loss, soft_targets=False)
        results.append(train_epoch(trainer.model, batches, optimiser, loss, terms))
        states.append(trainer.model.shared_state())
    assert results[0] == results[1]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_stronger_pull_leaves_a_market_nearer_to_what_came(synthetic: Path) -> None:
    """After a round, the distance over the shared group falls with mu, and the private group stays as it was.

    Adam's steps are of the learning rate's size whatever the gradient's, so a strong pull ends around w0, not at it.
    """
    lengths = []
    for mu in (0.0, 1.0, 1000.0):
        trainer = make_trainer(synthetic, f"training.proximal={mu}", "training.epochs=4", "training.batch_size=8")
        start = trainer.model.shared_state()
        private = {n: v.clone() for n, v in trainer.model.state_dict().items() if n not in start}
        trainer.pretrain_round(1)
        moved = distances(trainer.model, start)
        assert moved.keys() == start.keys()
        lengths.append(sum(float(value.square().sum()) for value in moved.values()) ** 0.5)
        assert all(torch.equal(trainer.model.state_dict()[name], value) for name, value in private.items())
    assert lengths[0] > 1.1 * lengths[1] > 1.2 * lengths[2] > 0


def test_fine_tuning_is_pulled_towards_the_shared_model(synthetic: Path) -> None:
    """Ditto: of the market's copy of the shared group; its private group is free. Zero is what there was without it."""
    lengths, private, states = [], [], []
    for words in ((), ("finetune.proximal=0",), ("finetune.proximal=10",), ("finetune.proximal=10000",)):
        trainer = make_trainer(synthetic, *words, "finetune.epochs=4", "finetune.patience=10", "training.batch_size=8")
        shared = trainer.model.shared_state()
        before = trainer.state()
        states.append(trainer.finetune().state)
        trainer.load(states[-1])
        moved = distances(trainer.model, shared)
        lengths.append(sum(float(value.square().sum()) for value in moved.values()) ** 0.5)
        private.append(any(not torch.equal(states[-1][name], before[name]) for name in before if name not in shared))
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert lengths[1] > 1.1 * lengths[2] > 1.2 * lengths[3]
    assert all(private)
