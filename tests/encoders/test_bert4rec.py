"""The bidirectional encoder: what is hidden, what is seen, and that it learns what it is asked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.batches import pad
from fedrec.data.sequences import Sequences
from fedrec.encoders.bert4rec import BERT4Rec, BERT4RecSettings
from fedrec.losses.cross_entropy import CrossEntropy
from fedrec.models.sequential import SequentialModel, build_model
from fedrec.recipe import ModelSettings
from fedrec.training.loop import batch_loss
from tests.losses.losses import of_model

ITEMS, LENGTH = 11, 6


def model(seed: int = 0, **more: float) -> SequentialModel:
    semantics = torch.from_numpy(np.random.default_rng(seed).standard_normal((ITEMS, 5)).astype(np.float32))
    sizes = ModelSettings(dimension=8, dropout=0.0, maximum_length=LENGTH)
    return build_model(sizes, BERT4RecSettings(**more), semantics, 0.1, seed)


def drawn(seed: int, users: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, LENGTH + 1, users)
    return torch.from_numpy(generator.integers(ITEMS, size=(users, LENGTH))), torch.from_numpy(lengths)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), hidden=st.floats(0.01, 0.9), last=st.sampled_from([0.0, 0.5, 1.0]))
def test_every_history_hides_something_and_padding_never_counts(seed: int, hidden: float, last: float) -> None:
    encoder = model(hidden=hidden, last=last).encoder
    _, lengths = drawn(seed)
    valid = torch.arange(LENGTH) < lengths[:, None]
    torch.manual_seed(seed)
    found = encoder.hide(valid)
    assert not (found & ~valid).any()
    assert found.any(dim=1).all()
    if last == 1.0:
        assert found.nonzero()[:, 1].tolist() == (lengths - 1).tolist()


def test_how_much_is_hidden() -> None:
    """Of long histories a fifth; the least of every history on top is small there."""
    encoder = BERT4Rec(BERT4RecSettings(hidden=0.2, last=0.0), model_sizes())
    torch.manual_seed(0)
    share = float(encoder.hide(torch.ones(2000, 50, dtype=torch.bool)).float().mean())
    assert share == pytest.approx(0.2, abs=0.005)


def model_sizes():
    from fedrec.components.encoder import EncoderSizes

    return EncoderSizes(8, 0.0, 50)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_prediction_never_sees_the_item_that_it_names(seed: int) -> None:
    """The hidden items are others, and the states are the same; one that is not hidden moves them."""
    one = model().eval()
    items, lengths = drawn(seed)
    with torch.no_grad():
        catalogue = one.catalogue()
        torch.manual_seed(seed)
        states, targets = one.predictions(catalogue, items, lengths)
        torch.manual_seed(seed)
        hidden = one.encoder.hide(torch.arange(LENGTH) < lengths[:, None])
        assert targets.tolist() == items[hidden].tolist()
        other = torch.where(hidden, (items + 1) % ITEMS, items)
        torch.manual_seed(seed)
        again, named = one.predictions(catalogue, other, lengths)
        torch.testing.assert_close(again, states)
        assert (named != targets).all()
        seen = (torch.arange(LENGTH) < lengths[:, None]) & ~hidden
        torch.manual_seed(seed)
        moved, _ = one.predictions(catalogue, torch.where(seen, (items + 1) % ITEMS, items), lengths)
        rows = hidden.nonzero()[:, 0]
        alone = ~seen.any(dim=1)[rows]
        assert torch.allclose(moved[alone], states[alone], atol=1e-5)
        assert not torch.isclose(moved[~alone], states[~alone]).all(dim=1).any()


def test_the_next_item_is_asked_for_by_a_mask_at_the_end_and_padding_says_nothing() -> None:
    one = model().eval()
    with torch.no_grad():
        catalogue = one.catalogue()
        items, lengths = torch.tensor([[3, 1, 4, 0, 0, 0], [2, 7, 1, 8, 2, 8]]), torch.tensor([3, 6])
        found = one.next_states(catalogue, items, lengths)
        by_hand = torch.cat([catalogue.vectors[[3, 1, 4]], one.encoder.mask[None]])[None]  # [1, 4, d]
        torch.testing.assert_close(found[0], one.encoder(by_hand)[0, 3])
        padded = one.next_states(catalogue, torch.tensor([[3, 1, 4, 9, 9, 9], [2, 7, 1, 8, 2, 8]]), lengths)
        torch.testing.assert_close(found, padded)
        earlier = one.next_states(catalogue, torch.tensor([[5, 1, 4, 0, 0, 0], [2, 7, 1, 8, 2, 8]]), lengths)
        assert not torch.allclose(found[0], earlier[0])


def test_it_learns_a_cycle() -> None:
    """Items follow each other in a circle; what comes next is certain."""
    one = model(last=0.5)
    loss = of_model("ce", one)
    assert isinstance(loss, CrossEntropy)
    starts = np.arange(ITEMS)
    rows = (starts[:, None] + np.arange(LENGTH + 1)) % ITEMS
    sequences = Sequences(np.arange(ITEMS + 1) * (LENGTH + 1), rows.ravel(), np.zeros(rows.size, np.int64), ITEMS)
    optimiser = torch.optim.Adam(one.parameters(), lr=0.01)
    torch.manual_seed(0)
    batch = pad(sequences, starts, LENGTH + 1)
    for _ in range(400):
        optimiser.zero_grad()
        value, count = batch_loss(one, batch, loss)
        value.backward()
        optimiser.step()
    assert count >= ITEMS
    one.eval()
    with torch.no_grad():
        catalogue = one.catalogue()
        asked = torch.from_numpy(rows[:, :LENGTH].copy())
        states = one.next_states(catalogue, asked, torch.full((ITEMS,), LENGTH))
        best = (one.queries(states) @ catalogue.keys.T).argmax(dim=1)
    assert (best.numpy() == rows[:, LENGTH]).mean() > 0.7  # chance is 1 in 11
