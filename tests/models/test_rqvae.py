"""The autoencoder of codes: its loss by loops, what is shared, and what learns from what."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedrec.exchange.codebook import CodeStatistics, statistics_arrays
from fedrec.models.rqvae import LAYERED, RqVae, build_rqvae, first_codebooks
from fedrec.recipe import CodesSettings, load_recipe

ALIGNMENTS = ["gram", "layered", "semantic", "procrustes", "none"]
ENCODERS = ("encoder.", "decoder.")
C, O = 5, 4  # noqa: E741  # widths of the inputs
EVERY = pytest.mark.parametrize("alignment", ALIGNMENTS)
LEVELS = pytest.mark.parametrize(
    ("common_levels", "own_levels"), [([4], [3]), ([4], []), ([], [3]), ([4, 3], [3, 2, 2]), ([2, 3, 4], [])]
)


def settings(**changes: object) -> CodesSettings:
    values = {"global_levels": [4], "local_levels": [3], "dimension": 6, "hidden": 7, "contrast": 0.3, **changes}
    return CodesSettings.model_validate(values)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def model_of(alignment: str, common: int = C, own: int = O, seed: int = 0, **changes: object) -> RqVae:
    """With codebooks of random vectors and no layer at zero, as after a round."""
    model = build_rqvae(settings(**changes), alignment, common, own, seed)
    with torch.no_grad():
        for number, (name, layer) in enumerate(sorted(model.named_parameters())):
            if ".output." in name:
                layer.copy_(random(60 + number, *layer.shape) * 0.3)
    model.codebook = [random(20 + level, *codebook.shape) * 0.5 for level, codebook in enumerate(model.codebook)]
    with torch.no_grad():
        for level, codebook in enumerate(model.own_codebook):
            codebook.copy_(random(40 + level, *codebook.shape) * 0.3)
    return model


def gradients(model: RqVae, common_levels_only: bool = False) -> dict[str, Tensor]:
    """Of every parameter that has one."""
    model.zero_grad(set_to_none=True)
    model(random(1, 30, C), random(2, 30, O), common_levels_only).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


# what is shared


@EVERY
def test_shared_parameters_do_not_depend_on_the_markets_own_width(alignment):
    """Nor on its own levels; else the markets' encoders would not be averages of one another."""
    one, other, wide = (
        build_rqvae(settings(local_levels=levels), alignment, C, own, 3).shared_state()
        for own, levels in ((3, [3]), (7, [5, 5]), (64, []))
    )
    assert list(one) == list(other) == list(wide)
    assert all(torch.equal(one[name], other[name]) and torch.equal(one[name], wide[name]) for name in one)
    if alignment == "none":
        assert one == {}
    else:
        assert {name.split(".")[0] for name in one} == {"encoder", "decoder"}
        assert any(value.any() for value in one.values())
        different = build_rqvae(settings(), alignment, C, 3, 4).shared_state()
        assert not all(torch.equal(one[name], different[name]) for name in one)


@EVERY
def test_groups_hold_every_parameter(alignment):
    model = model_of(alignment)
    names = [name for name, _ in model.named_parameters()]
    assert set(names) == set(model.state_dict())
    shared = model.groups.shared_names(names)  # raises for one in no group, or in two
    assert shared == sorted(name for name in names if name.startswith(ENCODERS))
    assert all(name.startswith("own_") for name in set(names) - set(shared))


def test_what_is_shared_is_a_copy():
    model = model_of("layered")
    kept = model.shared_state()
    before = {name: value.clone() for name, value in kept.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(kept[name], before[name]) for name in kept)


# the loss and what it explains, with encoders that change nothing


class Scaled(nn.Module):
    """Encoders and decoders one can do in one's head."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, given: Tensor) -> Tensor:
        return given * self.factor


FACTORS = {"encoder": 1.5, "decoder": 0.5, "own_encoder": 2.0, "own_decoder": 0.25}


def transparent(alignment: str, **changes: object) -> RqVae:
    model = model_of(alignment, 2, 2, dimension=2, **changes)
    for name, factor in FACTORS.items():
        if hasattr(model, name):
            setattr(model, name, Scaled(factor))
    return model


def by_level(vector: np.ndarray, codebooks: list[np.ndarray]) -> tuple[list[int], np.ndarray, list[float]]:
    """Codes, what they sum to, and each level's squared distance per number."""
    codes, total, errors = [], np.zeros_like(vector), []
    for codebook in codebooks:
        rest = vector - total
        code = min(range(len(codebook)), key=lambda k: float(((rest - codebook[k]) ** 2).sum()))
        codes.append(code)
        errors.append(float(((rest - codebook[code]) ** 2).mean()))
        total = total + codebook[code]
    return codes, total, errors


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    mean = wanted.mean(axis=0)
    return float(((found - wanted) ** 2).sum() / ((wanted - mean) ** 2).sum())


def contrast(left: np.ndarray, right: np.ndarray) -> float:
    """-log of the share of the own pair among all pairs of its row, and of its column; temperature 0.1."""
    size = len(left)
    scores = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            scores[i, j] = left[i] @ right[j] / np.linalg.norm(left[i]) / np.linalg.norm(right[j]) / 0.1
    rows = [np.log(np.exp(scores[i]).sum()) - scores[i, i] for i in range(size)]
    columns = [np.log(np.exp(scores[:, i]).sum()) - scores[i, i] for i in range(size)]
    return float((np.mean(rows) + np.mean(columns)) / 2)


def by_loops(model: RqVae, alignment: str, common: np.ndarray, own: np.ndarray) -> tuple[list[list[int]], float, float]:
    """Codes, loss and share explained. beta is 0.25 and the weight of the contrast 0.3."""
    shared = [np.asarray(codebook, np.float64) for codebook in model.codebook]
    private = [codebook.detach().numpy().astype(np.float64) for codebook in model.own_codebook]
    codes, totals, bases, distances = [], [], [], []
    for number in range(len(common)):
        first = own[number] * 2.0 if alignment == "none" else common[number] * 1.5
        codes_c, base, errors_c = by_level(first, shared)
        second = own[number] * 2.0 if alignment in LAYERED else first
        codes_o, beyond, errors_o = by_level(second if alignment in LAYERED else second - base, private)
        codes.append(codes_c + codes_o)
        distances.append(errors_c + errors_o)
        bases.append(base if shared else first)
        totals.append(beyond if alignment in LAYERED else base + beyond)
    loss = 1.25 * np.mean(distances, axis=0).sum()
    bases, totals = np.array(bases), np.array(totals)
    if alignment in LAYERED:
        errors = [relative_error(bases * 0.5, common)]
        if private:
            errors.append(relative_error(totals * 0.25, own))
    elif alignment == "none":
        errors = [relative_error(totals * 0.25, own)]
    else:
        errors = [relative_error(totals * 0.5, common)]
    if alignment == "semantic":
        loss += 0.3 * contrast(totals, own * 2.0)
    return codes, loss + sum(errors), 1 - float(np.mean(errors))


@EVERY
@LEVELS
def test_codes_loss_and_share_explained_by_loops(alignment, common_levels, own_levels):
    """With levels of either kind, of one kind, and several of each."""
    model = transparent(alignment, global_levels=common_levels, local_levels=own_levels)
    common, own = random(5, 25, 2), random(6, 25, 2)
    coded = model(common, own)
    codes, loss, explained = by_loops(model, alignment, common.double().numpy(), own.double().numpy())
    assert coded.codes.tolist() == codes
    assert float(coded.loss.detach()) == pytest.approx(loss, rel=1e-5)
    assert float(coded.explained) == pytest.approx(explained, abs=1e-5)
    assert (coded.common is None) == (not common_levels)
    assert (coded.own is None) == (not own_levels)


@EVERY
@pytest.mark.parametrize("own_levels", [[3], [3, 2, 2]])
def test_a_round_sees_the_common_levels_alone(alignment, own_levels):
    """The same as without own levels."""
    common, own = random(5, 25, 2), random(6, 25, 2)
    coded = transparent(alignment, global_levels=[4, 3], local_levels=own_levels)(common, own, True)
    bare = transparent(alignment, global_levels=[4, 3], local_levels=[])
    codes, loss, explained = by_loops(bare, alignment, common.double().numpy(), own.double().numpy())
    assert coded.own is None
    assert coded.codes.tolist() == codes
    assert float(coded.loss.detach()) == pytest.approx(loss, rel=1e-5)
    assert float(coded.explained) == pytest.approx(explained, abs=1e-5)


@EVERY
def test_a_round_without_common_levels_has_no_codes(alignment):
    """A recipe may have own levels alone; its rounds still have an encoder to train."""
    coded = transparent(alignment, global_levels=[], local_levels=[3])(random(5, 25, 2), random(6, 25, 2), True)
    assert coded.codes.shape == (25, 0)
    assert coded.codes.dtype == torch.int64
    assert coded.common is None
    assert coded.own is None
    assert torch.isfinite(coded.loss)


@pytest.mark.parametrize(
    ("codebook", "explained"),
    [
        ([[0.0, 0.0], [2.0, 4.0]], 1.0),  # every item has a code of its own
        ([[1.0, 2.0], [9.0, 9.0]], 0.0),  # all are guessed to be the mean
        ([[0.0, 0.0], [9.0, 9.0]], -1.0),  # (0 + 4 + 16) / 20 of squares beside a variance of (1 + 4 + 1 + 4) / 20
        ([[0.0, 0.0], [2.0, 2.0]], 0.6),  # 4 of squares beside 10
    ],
)
def test_the_share_explained_by_hand(codebook, explained):
    """Two items, (0, 0) and (2, 4)."""
    model = transparent("layered", global_levels=[2], local_levels=[])
    model.encoder, model.decoder = nn.Identity(), nn.Identity()
    model.codebook = [torch.tensor(codebook)]
    common = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    assert float(model(common, torch.zeros(2, 2)).explained) == pytest.approx(explained, abs=1e-6)


# what learns from what


@EVERY
def test_common_codebooks_are_no_parameters_and_learn_nothing(alignment):
    """Not even when an optimiser takes everything it finds."""
    model = model_of(alignment)
    before = [codebook.clone() for codebook in model.codebook]
    assert not any(codebook.requires_grad for codebook in model.codebook)
    assert not any(parameter is codebook for parameter in model.parameters() for codebook in model.codebook)
    assert not any(name.startswith("codebook") for name in model.state_dict())
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    model(random(1, 30, C), random(2, 30, O)).loss.backward()
    optimiser.step()
    assert all(codebook.grad is None for codebook in model.codebook)
    assert all(torch.equal(old, new) for old, new in zip(before, model.codebook, strict=True))


@pytest.mark.parametrize("alignment", ["gram", "layered"])
@pytest.mark.parametrize("common_levels", [[4], [4, 3]])
def test_the_own_loss_leaves_the_shared_encoder_alone(alignment, common_levels):
    """With the own levels or without them, encoder and decoder get the same gradient to the last bit; nothing of a
    round's loss reaches the market's own parts."""
    model = model_of(alignment, global_levels=common_levels)
    whole, common_only = gradients(model), gradients(model, common_levels_only=True)
    assert set(common_only) == {name for name in whole if name.startswith(ENCODERS)}
    for name, gradient in common_only.items():
        assert gradient.any(), name
        assert torch.equal(gradient, whole[name])
    for part in ("own_encoder.", "own_decoder.", "own_codebook."):
        assert any(gradient.any() for name, gradient in whole.items() if name.startswith(part))


@pytest.mark.parametrize(
    ("alignment", "learn"),
    [
        ("gram", {"encoder", "decoder"}),
        ("layered", {"encoder", "decoder"}),
        ("semantic", {"encoder", "decoder", "own_encoder"}),
        ("procrustes", {"encoder", "decoder"}),
        ("none", {"own_encoder", "own_decoder"}),
    ],
)
def test_what_learns_in_a_round(alignment, learn):
    found = gradients(model_of(alignment), common_levels_only=True)
    assert {name.split(".")[0] for name, gradient in found.items() if gradient.any()} == learn


def test_without_its_weight_the_contrast_teaches_nothing():
    found = gradients(model_of("semantic", contrast=0.0))
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("own_encoder."))


# first codebooks


GRID = [(x, y) for x in (-1.0, 1.0) for y in (0.0,)]
CORNERS = [(0.0, 0.0), (90.0, 0.0), (0.0, 90.0)]


def as_set(codebook: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(float(number) + 0.0 for number in np.round(vector, 3)) for vector in codebook}


def test_first_codebooks_are_means_of_what_the_encoder_makes_of_everyones_items():
    """Three far groups of two near ones, encoded to thrice their size: the groups' centres, then what they leave."""
    model = transparent("gram", global_levels=[3, 2], local_levels=[])
    model.encoder = Scaled(3.0)
    points = torch.tensor([(x + u, y + v) for x, y in CORNERS for u, v in GRID for _ in range(4)])
    first, second = first_codebooks(model, points, 0)
    assert as_set(first) == {(3 * x, 3 * y) for x, y in CORNERS}
    assert as_set(second) == {(3 * u, 3 * v) for u, v in GRID}
    assert first.dtype == second.dtype == np.float32
    again = first_codebooks(model, points, 0)
    assert all(np.array_equal(one, other) for one, other in zip((first, second), again, strict=True))


def test_first_codebooks_see_the_encoder():
    """The untrained one, not the vectors as they came."""
    model = build_rqvae(settings(global_levels=[6]), "gram", C, O, 0)
    points = random(3, 6, C)
    with torch.no_grad():
        encoded = model.encoder(points).numpy()
    assert as_set(first_codebooks(model, points, 0)[0]) == as_set(encoded)


@EVERY
def test_where_nobody_has_the_vectors_the_seed_draws(alignment):
    """The same for every market, whatever its width; another for another seed; every level, every code another."""
    sizes = {"global_levels": [4, 4], "dimension": 6}
    drawn = [
        first_codebooks(build_rqvae(settings(**sizes), alignment, C, own, 0), None, seed)
        for own, seed in ((3, 0), (7, 0), (3, 1))
    ]
    assert all(
        codebook.shape == (4, 6) and codebook.dtype == np.float32 for codebooks in drawn for codebook in codebooks
    )
    for one, other, different in zip(*drawn, strict=True):
        assert np.array_equal(one, other)
        assert not np.array_equal(one, different)
    assert len(np.unique(np.concatenate(drawn[0]), axis=0)) == 8


def test_without_alignment_nobodys_vectors_are_looked_at():
    """The encoders are private there: a codebook made by one of them would mean nothing to the others."""
    model = build_rqvae(settings(), "none", C, O, 0)
    for one, other in zip(first_codebooks(model, random(1, 9, C), 5), first_codebooks(model, None, 5), strict=True):
        assert np.array_equal(one, other)


@EVERY
def test_no_common_level_has_no_first_codebook(alignment):
    model = build_rqvae(settings(global_levels=[]), alignment, C, O, 0)
    assert first_codebooks(model, None, 0) == []
    assert first_codebooks(model, random(1, 9, C), 0) == []


def test_a_round_sends_far_less_than_a_table_of_items():
    """XMarket has 8,304 items and the sequential model 64 dimensions; single precision throughout."""
    recipe = load_recipe("fedmm")
    model = build_rqvae(recipe.codes, "gram", recipe.semantics.dimension, recipe.collaborative.dimension, 0)
    size, width = recipe.codes.global_levels[0], recipe.codes.dimension
    told = CodeStatistics(np.zeros(size, np.int64), np.zeros((size, width)))
    codebook = sum(array.nbytes for array in statistics_arrays([told]).values())
    encoder = sum(value.numpy().nbytes for value in model.shared_state().values())
    table = 8304 * recipe.model.dimension * 4
    assert table > 30 * (encoder + codebook)
    assert table > 100 * codebook
