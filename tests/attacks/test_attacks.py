"""Attacks on cases whose answer is known."""

import numpy as np
import pytest
import torch

from fedrec.attacks import inversion, items, membership, reconstruction
from fedrec.attacks.scores import recall_at
from fedrec.data.batches import pad
from fedrec.data.sequences import Sequences
from fedrec.encoders.transformer import TransformerSettings
from fedrec.models.sequential import SequentialModel, build_model
from fedrec.recipe import ModelSettings
from fedrec.training.loop import batch_loss
from fedrec.training.private import per_user_gradients
from tests.losses.losses import cross_entropy

SETTINGS = ModelSettings(dimension=32, maximum_length=12, bottleneck=4)


def histories(*rows: list[int], items: int = 200) -> Sequences:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    everything = np.array([item for row in rows for item in row], np.int64)
    return Sequences(offsets, everything, np.arange(len(everything)), items)


@pytest.fixture
def model() -> SequentialModel:
    semantics = torch.nn.functional.normalize(torch.randn(200, 24, generator=torch.Generator().manual_seed(1)), dim=-1)
    return build_model(SETTINGS, TransformerSettings(layers=1, heads=1), semantics, 0.1, seed=0)


def test_losses_of_positions_are_those_of_training(model):
    sequences = histories([3, 5, 7, 9], [1, 2], [4], [8, 6, 0, 199, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31])
    losses = membership.position_losses(model, sequences)
    assert (~np.isnan(losses)).sum(axis=1).tolist() == [3, 1, 0, 12]  # of the longest, the last thirteen items
    for user in (0, 1, 3):
        expected, _ = batch_loss(model.eval(), pad(sequences, np.array([user]), 13), cross_entropy(model))
        assert np.nanmean(losses[user]) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert membership.of_users(losses)[2] == 0


def test_a_member_s_pairs_are_all_there():
    pairs = np.zeros((5, 5))
    pairs[np.ix_([0, 1, 2], [0, 1, 2])] = 7
    found = membership.pair_scores(histories([0, 1, 2], [0, 1, 4], [3], items=5), pairs)
    assert found.tolist() == pytest.approx([1, 1 / 3, 0])


def test_best_sellers_are_the_top_tenth_with_ties():
    assert np.flatnonzero(items.best_sellers(np.array([5, 9, 9, 1, 0, 0, 0, 0, 0, 0]))).tolist() == [1, 2]
    assert not items.best_sellers(np.zeros(10, np.int64)).any()


def test_the_model_shows_what_it_came_to_prefer(model):
    before = items.preference(model, np.random.default_rng(0))
    with torch.no_grad():
        model.adaptation.bias[17] += 3
    gain = items.preference(model, np.random.default_rng(0)) - before
    assert gain.argmax() == 17


def test_a_code_of_one_item_is_inverted():
    vectors = np.random.default_rng(0).standard_normal((50, 8))
    codes = np.arange(50)
    assert inversion.inverted(np.ones(50, int), vectors, vectors, codes, 1) == 1.0
    assert inversion.by_codebook(np.ones(50, int), vectors[::-1], vectors, codes, 1) == 0.0  # a codebook of other codes
    noise = np.random.default_rng(1).standard_normal((50, 8)) * 100
    assert inversion.inverted(np.ones(50, int), vectors + noise, vectors, codes, 1) < 0.2
    assert inversion.inverted(np.zeros(50, int), vectors, vectors, codes, 1) == 0.0


@pytest.mark.parametrize("trained", ["encoder.", "adaptor.", ""])
def test_one_user_s_gradient_gives_the_items_away(model, trained):
    """Their inputs span the gradient's rows; noise as large as the gradient hides them."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trained) and not name.startswith("adaptation."))
    generator = np.random.default_rng(0)
    found, hidden = [], []
    for _ in range(10):
        bought = generator.choice(200, size=7, replace=False)
        gradients = per_user_gradients(
            model.eval(), pad(histories(list(bought)), np.array([0]), 13), cross_entropy(model)
        )
        gradient = {name: value[0] for name, value in gradients.items()}
        truth = np.isin(np.arange(200), bought)
        found.append(recall_at(reconstruction.item_scores(model, gradient), truth, 10))
        noised = {name: value + value.norm() * torch.randn(value.shape) for name, value in gradient.items()}
        hidden.append(recall_at(reconstruction.item_scores(model, noised), truth, 10))
    assert np.mean(found) > 0.7  # six of seven are inputs; chance is .05
    assert np.mean(hidden) < 0.4
