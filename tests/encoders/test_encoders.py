"""What every encoder promises, whoever wrote it; and the two others against plain derivations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedrec.components import EncoderSizes, components
from fedrec.components.encoder import Capability, Encoder
from fedrec.encoders.gru4rec import GRU4Rec, GRU4RecSettings
from fedrec.encoders.nextitnet import NextItNet, NextItNetSettings
from fedrec.errors import UserError
from fedrec.models.sequential import ResidualAdapter
from fedrec.recipe import load_recipe

SIZES = EncoderSizes(dimension=8, dropout=0.3, maximum_length=12)
NAMES = list(components("encoder"))
CAUSAL = [name for name in NAMES if name != "bert4rec"]


def made(name: str, seed: int = 0) -> Encoder:
    found = components("encoder")[name].load()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: Encoder = found(found.Settings(kind=name), SIZES)
    return encoder.eval()


def histories(seed: int, length: int = 12) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((3, length, 8)).astype(np.float32))


@pytest.mark.parametrize("name", CAUSAL)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), place=st.integers(0, 10))
def test_no_state_sees_what_comes_after_it(name: str, seed: int, place: int) -> None:
    encoder, x = made(name), histories(seed)
    other = x.clone()
    other[:, place + 1 :] = histories(seed + 1)[:, place + 1 :]
    torch.testing.assert_close(encoder(x)[:, : place + 1], encoder(other)[:, : place + 1])
    assert not torch.allclose(encoder(x)[:, place + 1 :], encoder(other)[:, place + 1 :])


@pytest.mark.parametrize("name", CAUSAL)
def test_a_history_stands_alone_whatever_is_beside_it_and_however_it_is_padded(name: str) -> None:
    encoder, x = made(name), histories(0)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]))
    torch.testing.assert_close(encoder(x[:, :5]), encoder(x)[:, :5])


@pytest.mark.parametrize("name", NAMES)
def test_adapters_begin_as_nothing_and_then_reach_the_states(name: str) -> None:
    encoder, x = made(name), histories(0)
    adapters = nn.ModuleList(ResidualAdapter(8, 3) for _ in range(encoder.adapted))
    assert len(adapters)
    torch.testing.assert_close(encoder(x, adapters), encoder(x))
    for index, adapter in enumerate(adapters):
        nn.init.normal_(adapter.up.weight, generator=torch.Generator().manual_seed(index))
        assert not torch.allclose(encoder(x, adapters), encoder(x))
        nn.init.zeros_(adapter.up.weight)


@pytest.mark.parametrize("name", NAMES)
def test_all_markets_have_the_same_parameters_and_all_of_them_learn(name: str) -> None:
    one, two = made(name), made(name)
    for (first, value), (second, other) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert first == second
        torch.testing.assert_close(value, other)
    weights = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(0))  # a norm's output has no free square
    (one(histories(0)) * weights).sum().backward()
    silent = {key for key, value in one.named_parameters() if value.grad is None or not value.grad.any()}
    assert silent <= {"mask"}  # of a bidirectional one, put in place of items by the model around it


def test_the_recurrent_one_is_the_textbook_recurrence() -> None:
    """Cho et al. 2014, written out, with PyTorch's place of the reset gate."""
    torch.manual_seed(1)
    encoder = GRU4Rec(GRU4RecSettings(layers=2), SIZES).eval()
    x = histories(2)
    for layer in encoder.layers:
        into, over, into_bias, over_bias = (
            getattr(layer, f"{kind}_l0") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state, states = torch.zeros(3, 8), []
        for step in range(x.shape[1]):
            (ri, zi, ni), (rh, zh, nh) = (
                (v @ w.T + b).chunk(3, dim=1) for v, w, b in ((x[:, step], into, into_bias), (state, over, over_bias))
            )
            update = torch.sigmoid(zi + zh)
            state = (1 - update) * torch.tanh(ni + torch.sigmoid(ri + rh) * nh) + update * state
            states.append(state)
        x = torch.stack(states, dim=1)
    torch.testing.assert_close(encoder(histories(2)), encoder.norm(x))


def test_the_convolutional_one_sees_as_far_back_as_its_dilations_say() -> None:
    """Two convolutions of width 3, dilations 1 and 2: 2 + 4 positions before its own; with no norm across positions."""
    torch.manual_seed(1)
    encoder = NextItNet(NextItNetSettings(layers=1, width=3, dilations=[1]), SIZES).eval()
    x = histories(0).requires_grad_()
    encoder(x)[0, 11].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(dim=1) > 0
    assert seen.tolist() == [False] * 5 + [True] * 7


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["encoder.kind=gru4rc"], "encoder.kind: 'gru4rc' is no encoder; did you mean 'gru4rec'?"),
        (["encoder.kind=3"], "encoder.kind: 3 is no encoder"),
        (["encoder=gru4rec"], "encoder = 'gru4rec': a section; name its component in encoder.kind"),
        (["encoder.layer=3"], "unknown key 'encoder.layer'; did you mean 'layers'?"),
        (["encoder.heads=2", "encoder.kind=gru4rec"], "unknown key 'encoder.heads'; known: kind, layers"),
        (
            ["encoder.kind=nextitnet", "encoder.dilations=[1, 99]"],
            "encoder.dilations 99: from 1 to model.maximum_length",
        ),
        (["encoder.kind=gru4rec", "privacy.epsilon=8"], "cannot keep one user's part of a step apart"),
    ],
)
def test_what_a_recipe_cannot_say(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as raised:
        load_recipe("fecosr", overrides)
    assert said in str(raised.value)


def test_another_kind_takes_none_of_the_first_ones_keys() -> None:
    """In any order: the shipped recipe names a transformer's layers and heads."""
    for overrides in (["encoder.kind=gru4rec", "encoder.layers=3"], ["encoder.layers=3", "encoder.kind=gru4rec"]):
        assert load_recipe("fecosr", overrides).encoder == GRU4RecSettings(layers=3)


def test_private_rounds_go_with_the_one_that_takes_its_dropout_handed_in() -> None:
    able = {name for name in NAMES if Capability.USER_PRIVACY in components("encoder")[name].load().capabilities}
    assert able == {"transformer"}


def test_old_names_are_read_and_said() -> None:
    with pytest.warns(FutureWarning, match="model.layers is called encoder.layers now"):
        assert load_recipe("fecosr", ["model.layers=3"]).encoder.model_dump()["layers"] == 3
    with pytest.warns(FutureWarning, match="model.heads is called algorithm.heads now"):
        assert load_recipe("acmr", ["model.heads=4"]).algorithm.heads == 4
