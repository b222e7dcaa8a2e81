"""Click-through models against loops over their own parameters."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.models.ctr import CtrInput, CtrModel, Fields, build_ctr_model, ctr_loss
from fedrec.recipe import CtrSettings

BACKBONES = ["widedeep", "deepfm", "dcnv2", "din"]
EVERY = pytest.mark.parametrize("backbone", BACKBONES)
FIELDS = Fields((5, 3), (4, 3, 2))
LONGEST = 4
Vector = list[float]


def configured(backbone: str, **changes: object) -> CtrSettings:
    values = {"backbone": backbone, "dimension": 3, "hidden": [6, 4], "crosses": 2, "dropout": 0.5, **changes}
    return CtrSettings.model_validate(values)


def random_model(backbone: str, **changes: object) -> CtrModel:
    """In double precision, with parameters of a size that makes every part count."""
    model = build_ctr_model(FIELDS, configured(backbone, **changes), 0, "jp").double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.double) * 0.7)
    return model


def inputs(count: int = 6, seed: int = 2, longest: int = LONGEST) -> CtrInput:
    """Histories of every length from none on, right-aligned; what stands in empty places is not 0."""
    generator = np.random.default_rng(seed)
    items = generator.integers(FIELDS.item, size=(count, longest + 1, len(FIELDS.item)))
    valid = np.arange(-longest, 0) >= -(np.arange(count) % (longest + 1))[:, None]
    return CtrInput(
        torch.from_numpy(generator.integers(FIELDS.user, size=(count, len(FIELDS.user)))),
        torch.from_numpy(items[:, 0]),
        torch.from_numpy(items[:, 1:]),
        torch.from_numpy(valid),
    )


# by loops


def dot(left: Vector, right: Vector) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def row(table: torch.nn.Embedding, sizes: tuple[int, ...], field: int, value: int) -> Vector:
    """Fields stand one after the other in the table."""
    return table.weight[sum(sizes[:field]) + value].tolist()


def linear(layer: torch.nn.Module, vector: Vector) -> Vector:
    return [
        dot(weights, vector) + bias for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def perceptron(layers: torch.nn.Sequential, vector: Vector) -> float:
    found = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    for layer in found[:-1]:
        vector = [max(number, 0.0) for number in linear(layer, vector)]
    return linear(found[-1], vector)[0]


def joined(vectors: list[Vector]) -> Vector:
    return [number for vector in vectors for number in vector]


def attention(layers: torch.nn.Sequential, vector: Vector) -> float:
    first, slope, last = layers
    hidden = [number if number > 0 else number * slope.weight.item() for number in linear(first, vector)]
    return linear(last, hidden)[0]


def interest(model: CtrModel, item: Vector, history: list[Vector]) -> Vector:
    """The sum of the past weighted by what past, candidate, difference and product say."""
    total = [0.0] * len(item)
    for past in history:
        met = [
            *past,
            *item,
            *(a - b for a, b in zip(past, item, strict=True)),
            *(a * b for a, b in zip(past, item, strict=True)),
        ]
        weight = attention(model.backbone.attention, met)
        total = [sofar + weight * number for sofar, number in zip(total, past, strict=True)]
    return total


def rest(model: CtrModel, backbone: str, user: list[Vector], item: list[Vector], history: list[Vector]) -> float:
    """What the backbone adds, of embeddings by field; each item of the history is one long vector."""
    fields, layers = user + item, model.backbone.perceptron
    if backbone == "widedeep":
        return perceptron(layers, joined(fields))
    if backbone == "deepfm":
        pairs = [dot(fields[f], fields[g]) for f in range(len(fields)) for g in range(f + 1, len(fields))]
        return math.fsum(pairs) + perceptron(layers, joined(fields))
    if backbone == "dcnv2":
        start = crossed = joined(fields)
        for cross in model.backbone.crosses:
            turned = linear(cross, crossed)
            crossed = [x0 * w + x for x0, w, x in zip(start, turned, crossed, strict=True)]
        return linear(model.backbone.output, crossed)[0] + perceptron(layers, start)
    return perceptron(layers, joined([*user, *item, interest(model, joined(item), history)]))


def by_loops(model: CtrModel, backbone: str, given_: CtrInput) -> Iterator[float]:
    for number in range(len(given_.user)):
        user, item = given_.user[number].tolist(), given_.item[number].tolist()
        sides = ((user, FIELDS.user, "user"), (item, FIELDS.item, "item"))
        wide = math.fsum(
            row(getattr(model, f"{side}_linear").table, sizes, field, value)[0]
            for values, sizes, side in sides
            for field, value in enumerate(values)
        )
        users, items = (
            [row(getattr(model, f"{side}_embedding").table, sizes, field, value) for field, value in enumerate(values)]
            for values, sizes, side in sides
        )
        history = [
            joined([row(model.item_embedding.table, FIELDS.item, field, value) for field, value in enumerate(values)])
            for values, held in zip(given_.history[number].tolist(), given_.valid[number].tolist(), strict=True)
            if held
        ]
        yield model.bias.item() + wide + rest(model, backbone, users, items, history)


@EVERY
@pytest.mark.parametrize("hidden", [[6, 4], [5], []])
@pytest.mark.parametrize("crosses", [1, 3])
def test_logits_by_loops(backbone, hidden, crosses):
    """Evaluation mode: dropout of one half does nothing. Histories are of 0, 1, 2, 3 and 4 items."""
    model = random_model(backbone, hidden=hidden, crosses=crosses)
    found = model(inputs())
    assert found.shape == (6,)
    np.testing.assert_allclose(found.detach().numpy(), list(by_loops(model, backbone, inputs())), rtol=1e-9, atol=1e-9)


def test_every_field_has_values_of_its_own():
    """Fields of 5 and 3, of 4, 3 and 2 values begin at 0 and 5, at 0, 4 and 7 of their tables. Row r says r^2, so from
    value 0 to v the logit rises by (start + v)^2 - start^2."""
    model = random_model("widedeep", hidden=[])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for table in (model.user_linear.table, model.item_linear.table):
            table.weight.copy_(torch.arange(len(table.weight))[:, None] ** 2)

        def logit(**changes: tuple[int, int]) -> float:
            given_ = CtrInput(*(torch.zeros_like(part) for part in inputs(1)))
            for side, (field, value) in changes.items():
                getattr(given_, side)[0, field] = value
            return model(given_).item()

        for side, starts, sizes in (("user", (0, 5), FIELDS.user), ("item", (0, 4, 7), FIELDS.item)):
            for field, (start, size) in enumerate(zip(starts, sizes, strict=True)):
                for value in range(size):
                    assert logit(**{side: (field, value)}) - logit() == (start + value) ** 2 - start**2


# histories


def test_an_empty_history_is_no_interest():
    """Of whatever items its places hold; the same as a history of no places."""
    model = random_model("din")
    given_ = inputs()._replace(valid=torch.zeros(6, LONGEST, dtype=torch.bool))
    nothing = given_._replace(history=given_.history[:, :0], valid=given_.valid[:, :0])
    assert torch.equal(model(given_), model(nothing))
    expected = list(by_loops(model, "din", given_))
    np.testing.assert_allclose(model(nothing).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    seen = []
    model.backbone.perceptron.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model(given_)
    width = len(FIELDS.item) * 3
    assert seen[0].shape == (6, len(FIELDS.user) * 3 + 2 * width)
    assert not seen[0][:, -width:].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(BACKBONES))
def test_what_stands_in_empty_places_does_not_matter(seed, backbone):
    """Neither for a logit nor for a gradient."""
    model = random_model(backbone)
    given_, other = inputs(), inputs(seed=seed)
    masked = given_._replace(history=torch.where(given_.valid[:, :, None], given_.history, other.history))
    found = []
    for one in (given_, masked):
        model.zero_grad(set_to_none=True)
        logits = model(one)
        logits.sum().backward()
        table = model.item_embedding.table.weight.grad
        found.append((logits.detach(), table.clone()))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=1e-12)


def test_only_din_looks_at_histories():
    for backbone in BACKBONES:
        model = random_model(backbone)
        given_ = inputs()
        nothing = given_._replace(history=given_.history[:, :0], valid=given_.valid[:, :0])
        assert torch.equal(model(given_), model(nothing)) == (backbone != "din")


def test_the_order_of_a_history_does_not_matter_and_a_repeat_counts_twice():
    model = random_model("din")
    given_ = inputs()
    turned = given_._replace(history=given_.history.flip(1), valid=given_.valid.flip(1))
    torch.testing.assert_close(model(turned), model(given_), rtol=1e-10, atol=1e-10)
    twice = given_._replace(
        history=torch.cat([given_.history, given_.history], dim=1), valid=torch.cat([given_.valid, given_.valid], dim=1)
    )
    np.testing.assert_allclose(model(twice).detach(), list(by_loops(model, "din", twice)), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(model(twice)[1:5], model(given_)[1:5])


# learning


@EVERY
def test_one_batch_can_be_learned_by_heart(backbone):
    """Sixteen instances at random: labels that only several fields together tell."""
    generator = np.random.default_rng(0)
    pairs = np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=-1).reshape(-1, 2)
    labels = torch.from_numpy(generator.permutation(16) % 2).float()
    fields = Fields((4,), (4, 2))
    items = torch.from_numpy(np.column_stack([pairs[:, 1], pairs[:, 1] % 2]))
    history = torch.from_numpy(generator.integers((4, 2), size=(16, 3, 2)))
    given_ = CtrInput(torch.from_numpy(pairs[:, :1]), items, history, torch.ones(16, 3, dtype=torch.bool))
    model = build_ctr_model(fields, configured(backbone, dropout=0.0, hidden=[32, 16], dimension=8), 0, "jp")
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        loss = ctr_loss(model(given_), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert ctr_loss(model(given_), labels).item() < 0.05


def test_the_loss_by_hand():
    """-log s(2), -log(1 - s(2)), -log s(-1); a certain and wrong one stays finite."""
    logits, labels = torch.tensor([2.0, 2.0, -1.0]), torch.tensor([1.0, 0.0, 1.0])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(1))) / 3
    assert float(ctr_loss(logits, labels)) == pytest.approx(expected, rel=1e-6)
    assert math.isfinite(float(ctr_loss(torch.tensor([-1e4]), torch.ones(1))))


@EVERY
def test_the_seed_and_the_market_decide_and_nothing_else(backbone):
    found = []
    for _ in range(2):
        for seed, market in ((0, "jp"), (1, "jp"), (0, "de")):
            state = build_ctr_model(FIELDS, configured(backbone), seed, market).state_dict()
            found.append(b"".join(value.numpy().tobytes() for value in state.values()))
            torch.rand(1)
    assert found[:3] == found[3:]
    assert len(set(found)) == 3


@EVERY
def test_dropout_is_for_training_alone(backbone):
    model = random_model(backbone)
    assert torch.equal(model(inputs()), model(inputs()))
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model(inputs()), model(inputs()))
