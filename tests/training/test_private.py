"""DP-SGD: per-user gradients against a loop and against Opacus, clipping, noise, and who is sampled."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule

from fedrec.components import Loss
from fedrec.data.batches import pad
from fedrec.data.sequences import Sequences
from fedrec.data.store import open_store
from fedrec.encoders.transformer import TransformerSettings
from fedrec.models.adaptor import ItemCodes
from fedrec.models.sequential import SequentialModel, build_model
from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.release import Release
from fedrec.recipe import ModelSettings, load_recipe
from fedrec.training.loop import batch_loss
from fedrec.training.prepared import PreparedMarket
from fedrec.training.private import PrivateSteps, clipped_sum, per_user_gradients, private_round
from fedrec.training.sequential import SequentialTrainer
from tests.conftest import QUICK
from tests.losses.losses import cross_entropy, of_model

ITEMS, USERS = 12, 7
PEOPLE = [f"user {number}" for number in range(USERS)]
NOISE = SecretNoise(bytes(range(32)), "run")


def histories(seed: int = 0, least: int = 2) -> Sequences:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(least, 9, size=USERS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = generator.integers(ITEMS, size=offsets[-1])
    return Sequences(offsets.astype(np.int64), items, np.arange(offsets[-1]), ITEMS)


def make_model(codes: bool = False, train: str = "encoder", dropout: float = 0.0) -> SequentialModel:
    generator = torch.Generator().manual_seed(3)
    semantics = torch.nn.functional.normalize(torch.randn(ITEMS, 6, generator=generator), dim=1)
    made = ItemCodes(torch.arange(ITEMS)[:, None] % 5, (5,), torch.zeros(ITEMS, 0, dtype=torch.int64), ())
    small = ModelSettings(dimension=8, dropout=dropout, maximum_length=6, bottleneck=2)
    model = build_model(small, TransformerSettings(), semantics, 0.1, 0, made if codes else None)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("adaptation."):
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            trained = name.startswith("encoder.") or (train == "everything" and name.startswith("adaptor."))
            parameter.requires_grad_(trained)
    return model.train()


def soft(model: SequentialModel) -> Loss:
    return of_model("s2ce", model, lam=0.3, neighbours=3)


def by_loop(model: SequentialModel, sequences: Sequences, users: np.ndarray) -> dict[str, list[torch.Tensor]]:
    """One backward pass of the plain training loss per user."""
    found: dict[str, list[torch.Tensor]] = {n: [] for n, p in model.named_parameters() if p.requires_grad}
    for user in users:
        model.zero_grad(set_to_none=True)
        loss, _ = batch_loss(model, pad(sequences, np.array([user]), 7), soft(model))
        loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                found[name].append(parameter.grad.clone())
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("train", ["encoder", "everything"])
@pytest.mark.parametrize("codes", [False, True], ids=["semantics", "table"])
def test_per_user_gradients_are_those_of_a_loop(codes, train):
    """To 1e-6 of their size: frozen item vectors, an adaptor, a table of codes; histories longer than the model too."""
    model, sequences = make_model(codes, train), histories()
    users = np.arange(USERS)
    found = per_user_gradients(model, pad(sequences, users, 7), soft(model))
    wanted = by_loop(model, sequences, users)
    assert set(found) == set(wanted)
    scale = max(float(torch.stack(parts).abs().max()) for parts in wanted.values())
    for name, parts in wanted.items():
        torch.testing.assert_close(found[name], torch.stack(parts), rtol=1e-5, atol=1e-6 * scale)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_per_user_gradients_of_one_row_users_are_those_of_opacus():
    """One user, one row: their per-sample gradients. Positions are not per sample to Opacus, so they are left out."""
    model, sequences = make_model(), histories(1, least=7)
    batch = pad(sequences, np.arange(USERS), 7)
    found = per_user_gradients(model, batch, cross_entropy(model))
    model.encoder.position.weight.requires_grad_(False)
    with torch.no_grad():
        vectors = model.adaptor(model.semantics)
    items = torch.from_numpy(batch.items)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = GradSampleModule(model.encoder, loss_reduction="sum")
        states = theirs(vectors[items[:, :-1]])
        queries = torch.nn.functional.normalize(states, dim=-1) / 0.1
        scores = queries @ torch.nn.functional.normalize(vectors, dim=-1).T
        rows = torch.nn.functional.cross_entropy(scores.transpose(1, 2), items[:, 1:], reduction="none").mean(dim=1)
        rows.sum().backward()
    compared = 0
    for name, parameter in theirs._module.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(found[f"encoder.{name}"], parameter.grad_sample, rtol=1e-4, atol=1e-5)
            compared += 1
    assert compared == len(found) - 1


def random_gradients(seed: int, users: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.exp(3 * torch.randn(users, generator=generator))
    return {
        name: torch.randn(users, *shape, generator=generator) * sizes.reshape(-1, *[1] * len(shape))
        for name, shape in (("a", (3, 2)), ("b", (4,)), ("c", ()))
    }


def norm_of(state: dict[str, torch.Tensor]) -> float:
    return float(torch.stack([value.double().square().sum() for value in state.values()]).sum().sqrt())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0.01, 100), st.data())
def test_one_user_moves_the_clipped_sum_by_at_most_the_norm(seed, users, norm, data):
    gradients = random_gradients(seed, users)
    gone = data.draw(st.integers(0, users - 1))
    without = {name: torch.cat([value[:gone], value[gone + 1 :]]) for name, value in gradients.items()}
    whole, less = clipped_sum(gradients, norm), clipped_sum(without, norm)
    moved = norm_of({name: whole[name] - less[name] for name in whole})
    assert moved <= norm * (1 + 1e-4) + 1e-6
    own = norm_of({name: value[gone] for name, value in gradients.items()})
    assert moved == pytest.approx(min(own, norm), rel=1e-3, abs=1e-4 * norm * users)


def test_a_gradient_that_is_no_number_is_nobodys():
    gradients = random_gradients(0, 3)
    clean = clipped_sum({name: value[:2] for name, value in gradients.items()}, 1.0)
    for bad in (float("nan"), float("inf")):
        gradients["a"][2, 0, 0] = bad
        found = clipped_sum(gradients, 1.0)
        for name, value in found.items():
            torch.testing.assert_close(value, clean[name])


def steps_of(sampling: float = 1.0, noise: float = 0.0, count: int = 1, clip: float = 1e9) -> PrivateSteps:
    return PrivateSteps(clip, Release("update", noise, sampling, count), USERS, NOISE, "update:1", "asked")


def test_without_noise_sampling_and_clipping_it_is_plain_training():
    """One step over everybody equals a step on the mean of the users' losses, whose length each user has one of."""
    model, sequences = make_model(), histories()
    twin = make_model()
    private_round(
        model,
        sequences,
        PEOPLE,
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1),
        cross_entropy(model),
        steps_of(),
    )
    optimiser = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.1)
    losses = [batch_loss(twin, pad(sequences, np.array([user]), 7), cross_entropy(model))[0] for user in range(USERS)]
    torch.stack(losses).mean().backward()
    optimiser.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, twin.get_parameter(name), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("multiplier", [0.5, 3.0])
def test_noise_has_the_deviation_that_was_accounted_for(multiplier):
    """Over 20,000 numbers of a sum of nobody, an untouched table among them: sigma C over the expected users."""
    steps = PrivateSteps(2.5, Release("update", multiplier, 0.25, 1), 400, NOISE, "update:1", "asked")
    noised = steps.noised({"table": torch.zeros(1000, 20), "bias": torch.zeros(7)}, 0)
    expected = multiplier * 2.5 / (0.25 * 400)
    values = noised["table"].double()
    assert float(values.std()) == pytest.approx(expected, rel=0.02)
    assert abs(float(values.mean())) < 4 * expected / 20000**0.5
    assert bool(noised["table"].all())  # every row, touched or not
    assert not torch.equal(noised["table"], steps.noised({"table": torch.zeros(1000, 20)}, 1)["table"])


def test_users_are_drawn_by_poisson_sampling():
    """Each with the same chance, independently of others and of other steps; sizes vary like a binomial."""
    steps = PrivateSteps(1.0, Release("update", 1.0, 0.3, 400), 200, NOISE, "update:1", "asked")
    people = [f"user {number}" for number in range(200)]
    drawn = np.zeros((400, 200))
    for step in range(400):
        drawn[step, steps.sample(people, step)] = 1
    assert drawn.mean() == pytest.approx(0.3, abs=0.01)
    assert drawn.sum(axis=1).std() == pytest.approx((200 * 0.3 * 0.7) ** 0.5, rel=0.15)
    assert np.abs(drawn.mean(axis=0) - 0.3).max() < 0.12
    assert len({row.tobytes() for row in drawn}) == 400


def test_what_is_drawn_for_a_user_is_that_users_alone():
    """Whoever else is there and in whatever order: who takes part, and what dropout leaves."""
    steps = PrivateSteps(1.0, Release("update", 1.0, 0.5, 5), 9, NOISE, "update:1", "asked")
    people = [f"user {number}" for number in range(60)]
    model = make_model(dropout=0.3)
    for step in range(3):
        chosen = {people[index] for index in steps.sample(people, step)}
        fewer = people[40:10:-3]
        assert {fewer[index] for index in steps.sample(fewer, step)} == chosen & set(fewer)
        whole = steps.masks(model.encoder, people, step, 6)
        alone = steps.masks(model.encoder, [people[7]], step, 4)
        assert torch.equal(whole.inputs[7, :4], alone.inputs[0])
        for block, own in zip(whole.blocks, alone.blocks, strict=True):
            assert torch.equal(block.attention[7, :, :4, :4], own.attention[0])
            assert torch.equal(block.hidden[7, :4], own.hidden[0])
    other = PrivateSteps(1.0, steps.release, 9, NOISE, "update:1", "asked again")
    assert not torch.equal(
        other.masks(model.encoder, people, 0, 6).inputs, steps.masks(model.encoder, people, 0, 6).inputs
    )


def test_handed_in_masks_drop_as_often_as_dropout_does():
    """And make up for it, at every place where the encoder drops: 60 users of some 2,000 numbers each."""
    steps = PrivateSteps(1.0, Release("update", 1.0), 9, NOISE, "update:1", "asked")
    encoder = make_model(dropout=0.3).encoder
    masks = steps.masks(encoder, [str(number) for number in range(60)], 0, 6)
    parts = [masks.inputs, *(part for block in masks.blocks for part in block)]
    assert [tuple(part.shape[1:]) for part in parts] == [(6, 8), *[(2, 6, 6), (6, 8), (6, 32), (6, 8)] * 2]
    for part in parts:
        assert float((part == 0).float().mean()) == pytest.approx(0.3, abs=5 * (0.21 / part.numel()) ** 0.5)
        assert float(part.max()) == pytest.approx(1 / 0.7, rel=1e-4)
        assert len(torch.unique(part)) == 2


def test_masks_of_ones_are_no_dropout_at_all():
    """The encoder with masks computes attention by itself: the same as the fused one."""
    encoder = make_model(dropout=0.3).encoder.eval()
    x = torch.randn(5, 6, 8, generator=torch.Generator().manual_seed(0))
    ones = encoder.mask_shape._replace(chance=0.0).masks(torch.zeros(5, encoder.mask_shape.words, dtype=torch.int32), 6)
    torch.testing.assert_close(encoder(x, (), ones), encoder(x), rtol=1e-5, atol=1e-6)
    everything = encoder.mask_shape.masks(torch.zeros(5, encoder.mask_shape.words, dtype=torch.int32), 6)
    assert float(everything.inputs.abs().max()) == 0


def test_a_step_with_nobody_is_noise():
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps = PrivateSteps(1.0, Release("update", 1.0, 1e-9, 1), USERS, NOISE, "update:1", "asked")
    optimiser = torch.optim.SGD([model.encoder.norm.weight], lr=1e-12)
    private_round(model, histories(), PEOPLE, optimiser, cross_entropy(model), steps)
    assert not torch.equal(model.encoder.norm.weight, before["encoder.norm.weight"])


def trainer_of(data: Path, *overrides: str) -> SequentialTrainer:
    recipe = load_recipe("fecosr", [*QUICK, "semantics.kind=hashing", "evaluation.protocol=temporal", *overrides])
    return SequentialTrainer.alone(recipe, PreparedMarket(open_store(data / "alfa"), recipe))


@pytest.mark.parametrize("trains", ["encoder", "everything"])
def test_a_private_round_moves_what_it_says_and_repeats_to_the_bit(synthetic, trains):
    """The same purpose gives the same update, another one another; the private adaptation stays."""
    found = []
    for purpose in ("update:1", "update:1", "update:2"):
        trainer = trainer_of(synthetic, "privacy.epsilon=8")
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        users = len(trainer.market.train)
        steps = PrivateSteps(1.0, Release("update", 1.0, 0.3, 2), users, NOISE, purpose, "asked")
        trainer.pretrain_privately(steps, trains)
        after = trainer.model.state_dict()
        moved = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
        assert moved == ({"encoder"} if trains == "encoder" else {"encoder", "adaptor"})
        found.append({name: value.clone() for name, value in after.items()})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert not all(torch.equal(value, found[2][name]) for name, value in found[0].items())
