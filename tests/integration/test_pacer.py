"""Pacer and Runner: the gap is the difference of two models' losses, the pacer learns alone, the weight follows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Message
from safetensors.numpy import load_file

from fedrec.clients.node import MarketNode
from fedrec.clients.pacer import pacer_of
from fedrec.data.store import open_store
from fedrec.errors import UserError
from fedrec.exchange.payload import SCALARS
from fedrec.exchange.weights import transfer_weight
from fedrec.losses.info_nce import info_nce
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer
from fedrec.training.stages import Pace
from tests.integration.harness import WatchedApp, quick, run_with

COUNTED = ("semantics.kind=hashing", "evaluation.methods=[federated, local]")


def log_softmax_loss(trainer: SequentialTrainer) -> float:
    """The validation loss by torch, over the train items without the user's history; other targets do not count."""
    holdout = trainer.market.validation
    scores = torch.from_numpy(trainer.scorer(holdout)(np.arange(len(holdout))).astype(np.float64))
    for row in range(len(holdout)):
        history = holdout.histories.items[holdout.histories.offsets[row] : holdout.histories.offsets[row + 1]]
        scores[row, history] = -torch.inf
    scores[:, np.setdiff1d(np.arange(scores.shape[1]), trainer.market.train.items)] = -torch.inf
    inside = holdout.targets >= 0
    assert 0 < inside.sum() < len(inside)
    return float(torch.nn.functional.cross_entropy(scores[inside], torch.from_numpy(holdout.targets[inside])))


def test_the_gap_is_the_difference_of_two_losses_and_the_first_one_is_zero(synthetic: Path, tmp_path: Path) -> None:
    """Round 2's gap, made again from the run's own files: the checkpointed model against a pacer trained one round."""
    recipe = quick(*COUNTED, "pacer.scales=share", "federation.rounds=2", "federation.patience=9")
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    first, second = (record["transfer_gap"] for record in summary["rounds"])
    assert first == {"alfa": 0.0, "bravo": 0.0, "charlie": 0.0}  # pacer and runner begin alike
    resolved = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    market = PreparedMarket(open_store(synthetic / "bravo"), resolved)
    pacer, runner = SequentialTrainer.alone(resolved, market), SequentialTrainer.alone(resolved, market)
    pacer.pretrain_round(1)
    checkpoint = load_file(tmp_path / "run" / "checkpoints" / "pretrain" / "round-000001" / "shared.safetensors")
    runner.load({name: torch.from_numpy(array) for name, array in checkpoint.items()})
    assert second["bravo"] == pytest.approx(log_softmax_loss(runner) - log_softmax_loss(pacer), abs=1e-5)
    assert second["bravo"] != 0


def test_the_pacer_is_the_local_baseline_round_for_round(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick(*COUNTED, "pacer.scales=loss", "federation.rounds=2", "federation.patience=9")
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    resolved = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    alone = SequentialTrainer.alone(resolved, PreparedMarket(open_store(synthetic / "alfa"), resolved))
    alone.pretrain_round(1)
    alone.pretrain_round(2)
    kept = load_file(tmp_path / "run" / "markets" / "alfa" / "pacer-000002.safetensors")
    for name, value in alone.state().items():
        np.testing.assert_array_equal(kept[name], value.numpy(), err_msg=name)


def test_the_mean_weighs_by_the_gaps(synthetic: Path, tmp_path: Path) -> None:
    """Two markets say that they lose or win two nats: what they sent counts by the weights, by hand."""
    gaps = {"alfa": 2.0, "bravo": -2.0, "charlie": 0.0}

    class Saying(WatchedApp):
        def __call__(self, message: Message, context: object) -> Message:
            reply = super().__call__(message, context)  # type: ignore[arg-type]
            if message.metadata.message_type == "train.pretrain":
                reply.content[SCALARS]["transfer_gap"] = gaps[context.node_config["market"]]  # type: ignore[attr-defined]
            return reply

    app = Saying()
    recipe = quick(*COUNTED, "pacer.scales=share", "pacer.temperature=1", "federation.rounds=1", "engine.workers=0")
    summary = run_with(app, recipe, synthetic, tmp_path / "run")
    replies = [reply for reply in app.seen if reply.metadata.message_type == "train.pretrain"]
    weights, sent = [], []
    for reply in replies:
        gap = reply.content[SCALARS]["transfer_gap"]
        weights.append(reply.content[SCALARS]["weight"] * 2 / (1 + np.exp(gap)))
        sent.append(reply.content["arrays"]["encoder.norm.weight"].numpy().astype(np.float64))
    expected = sum(w * array for w, array in zip(weights, sent, strict=True)) / sum(weights)
    shared = load_file(tmp_path / "run" / "checkpoints" / "pretrain" / "round-000001" / "shared.safetensors")
    np.testing.assert_allclose(shared["encoder.norm.weight"], expected, rtol=1e-6)
    assert summary["rounds"][0]["transfer_gap"] == gaps


def test_a_slower_pace_is_a_smaller_step(synthetic: Path) -> None:
    """AdamW's steps do not feel a factor on the loss, so the weight scales the steps: half of it, half of the way."""
    recipe = quick(*COUNTED, "training.batch_size=4096", "model.dropout=0", "training.weight_decay=0").resolved(
        False, True
    )
    market = PreparedMarket(open_store(synthetic / "alfa"), recipe)
    moved = []
    for step in (1.0, 0.5):
        trainer = SequentialTrainer.alone(recipe, market)
        before = trainer.model.shared_state()
        trainer.pretrain_round(1, Pace(trainer, step))
        after = trainer.model.shared_state()
        moved.append({name: (after[name] - before[name]).double() for name in before})
    for name, change in moved[0].items():
        torch.testing.assert_close(moved[1][name], change / 2, rtol=1e-3, atol=1e-6)


def test_alignment_brings_runner_and_pacer_nearer(synthetic: Path) -> None:
    recipe = quick(*COUNTED, "federation.rounds=1").resolved(False, True)
    market = PreparedMarket(open_store(synthetic / "alfa"), recipe)
    pacer = SequentialTrainer.alone(recipe, market)
    for number in range(1, 4):
        pacer.pretrain_round(number)
    before, losses = pacer.state(), []
    (batch, *_) = list(pacer.batches(np.random.default_rng(0)))
    for weight in (0.0, 10.0):
        runner = SequentialTrainer.alone(recipe, market)
        for number in range(5, 9):
            runner.pretrain_round(number, Pace(pacer, alignment=weight))
        with torch.no_grad():
            states = [trainer.states(batch) for trainer in (runner, pacer) if trainer.model.eval()]
        losses.append(info_nce(*states).item())
    assert losses[1] < losses[0] - 0.1
    assert all(torch.equal(before[name], value) for name, value in pacer.state().items())  # it was only looked at


def test_the_loss_counts_what_each_tells_of_the_other() -> None:
    """Against the definition, term by term."""
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(4, 3)), generator.normal(size=(4, 3))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    scores = np.exp(unit[0] @ unit[1].T / 0.5)
    terms = [-np.log(scores[i, i] / scores[i].sum()) - np.log(scores[i, i] / scores[:, i].sum()) for i in range(4)]
    found = info_nce(torch.from_numpy(first), torch.from_numpy(second), 0.5).item()
    assert found == pytest.approx(np.mean(terms) / 2)


def test_a_weight_is_twice_the_logistic_function() -> None:
    for gap in (-30.0, -1.0, 0.0, 0.3, 30.0):
        assert transfer_weight(gap, 0.5) == pytest.approx(2 / (1 + np.exp(gap / 0.5)), abs=1e-12)
    assert transfer_weight(1e9, 0.5) > 0  # where everybody loses, there still is a mean


def test_a_memory_of_another_run_is_not_taken_up(synthetic: Path, tmp_path: Path) -> None:
    """Two runs in one process: the second one's pacer begins anew."""
    recipe = quick(*COUNTED, "pacer.scales=loss").resolved(False, True)
    store = open_store(synthetic / "alfa")
    pacers = [pacer_of(MarketNode(store, tmp_path / run / "markets" / "alfa"), recipe) for run in ("one", "two")]
    pacers[0].follow(1)
    runner = SequentialTrainer.alone(recipe, PreparedMarket(store, recipe))
    assert pacers[1].set_pace(runner, recipe, 1)[0] == 0.0
    assert pacers[0].set_pace(runner, recipe, 2)[0] != 0.0


def test_the_pacer_begins_as_the_runner_does_whatever_items_are_made_of(synthetic: Path, tmp_path: Path) -> None:
    """Semantics of summed counts, and codes without a pacer of the market's own: the first gap is zero all the same."""
    small = ("collaborative.epochs=2", "codes.rounds=2", "codes.global_levels=[8]", "codes.local_levels=[4]")
    for number, kind in enumerate((("semantics.kind=cooccurrence",), ("algorithm.kind=codes", *small))):
        recipe = quick(*kind, "evaluation.methods=[federated]", "pacer.scales=share", "pacer.alignment=0.1")
        summary = prepare_simulation(recipe, synthetic, tmp_path / str(number)).start()
        rounds = [record for record in summary["rounds"] if record["stage"] == "pretrain"]
        assert not any(record["rejected"] for record in rounds)
        assert set(rounds[0]["transfer_gap"].values()) == {0.0}
        assert all(rounds[1]["transfer_gap"].values())


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["pacer.scales=share", "aggregator.kind=median"], "no weighted mean"),
        (["pacer.scales=loss", "privacy.epsilon=8"], "pacer"),
        (["pacer.alignment=1", "masks.enabled=true"], "pacer"),
        (["pacer.scales=loss", "evaluation.methods=[local, ease]"], "federated"),
    ],
)
def test_what_does_not_go_together_is_named(overrides: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        quick(*overrides)
