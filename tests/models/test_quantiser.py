"""The quantiser against loops and against vector-quantize-pytorch on the same inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_quantize_pytorch import ResidualVQ, VectorQuantize

from fedrec.models.quantiser import commitment, initial_codebook, nearest, quantise, straight_through, usage

SMALL = st.integers(-2, 2)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nearest_by_loops_of_equals_the_first(data):
    rows = st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=6)
    vectors, codebook = data.draw(rows), data.draw(rows)
    expected = [
        min(range(len(codebook)), key=lambda k: ((v[0] - codebook[k][0]) ** 2 + (v[1] - codebook[k][1]) ** 2, k))
        for v in vectors
    ]
    assert nearest(torch.tensor(vectors).float(), torch.tensor(codebook).float()).tolist() == expected


def test_one_level_is_theirs():
    """Codes, vectors, commitment loss and the straight-through gradient."""
    codebook = random(0, 6, 4)
    theirs = VectorQuantize(dim=4, codebook_size=6, commitment_weight=0.25, rotation_trick=False)
    theirs._codebook.embed.data.copy_(codebook[None])
    theirs.eval()
    vectors = random(1, 50, 4).requires_grad_()
    result = quantise(vectors, [codebook])
    value, codes, _ = theirs(vectors[None])
    assert result.codes[:, 0].tolist() == codes[0].tolist()
    torch.testing.assert_close(result.total, value[0].detach())

    theirs.train()
    weight = random(2, 50, 4)
    given_theirs = vectors.detach().clone().requires_grad_()
    value, _, loss = theirs(given_theirs[None])
    (loss.sum() + (value[0] * weight).sum()).backward()
    ((straight_through(vectors, result.total) * weight).sum() + commitment(result, 0.25)).backward()
    torch.testing.assert_close(vectors.grad, given_theirs.grad)
    # ours has |sg[r] - c|^2 as well, which moves codebooks that are not frozen
    torch.testing.assert_close(commitment(result, 0.25).detach(), loss.detach().squeeze() * 5)


def test_residual_levels_are_theirs():
    codebooks = [random(3, 8, 4), random(4, 8, 4) * 0.5, random(5, 8, 4) * 0.2]
    theirs = ResidualVQ(dim=4, num_quantizers=3, codebook_size=8, threshold_ema_dead_code=0)
    for layer, codebook in zip(theirs.layers, codebooks, strict=True):
        layer._codebook.embed.data.copy_(codebook[None])
    theirs.eval()
    vectors = random(6, 40, 4)
    value, codes, _ = theirs(vectors[None])
    result = quantise(vectors, codebooks)
    assert result.codes.tolist() == codes[0].tolist()
    torch.testing.assert_close(result.total, value[0])


def test_a_codebook_learns_through_what_was_chosen_alone():
    """d/dc sum |sg[r] - c|^2 / (N d) = 2 (c - r) / (N d) summed over the vectors of the code; no gradient by r."""
    codebook = random(7, 3, 2).requires_grad_()
    vectors = random(8, 10, 2).requires_grad_()
    result = quantise(vectors, [codebook])
    commitment(result, 0.0).backward()
    expected = torch.zeros(3, 2)
    for vector, code in zip(vectors.detach(), result.codes[:, 0], strict=True):
        expected[code] += 2 * (codebook.detach()[code] - vector) / 20
    torch.testing.assert_close(codebook.grad, expected)
    assert vectors.grad is None or not vectors.grad.any()


@pytest.mark.parametrize("distinct", [1, 3, 40])
def test_k_means_gives_as_many_codes_as_asked(distinct):
    """Fewer distinct vectors than codes: every vector is a code, copies lie beside, none is equal to another."""
    vectors = np.repeat(random(9, distinct, 3).numpy(), 5, axis=0)
    codebook = initial_codebook(vectors, 8, seed=1)
    assert codebook.shape == (8, 3)
    assert len(np.unique(codebook, axis=0)) == 8
    if distinct < 8:
        distance = np.linalg.norm(vectors[:, None] - codebook[None], axis=-1).min(axis=1)
        assert distance.max() < 1e-5
    np.testing.assert_array_equal(codebook, initial_codebook(vectors, 8, seed=1))


def test_usage_of_nothing():
    assert usage(np.zeros(4, int)) == (0.0, 4)
    assert usage(np.array([7, 0])) == (1.0, 1)
