"""The shared encoder and the sequential model over it."""

import pytest
import torch
from torch.nn import functional

from fedrec.components.encoder import EncoderSizes
from fedrec.encoders.transformer import Transformer, TransformerSettings
from fedrec.models.sequential import ResidualAdapter, SequentialModel, build_model
from fedrec.recipe import ModelSettings

SETTINGS = ModelSettings(dimension=8, dropout=0.5, maximum_length=10, bottleneck=3)
WIDTH, TAU = 6, 0.1


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_model(items=12, seed=0, semantics_seed=0, settings=SETTINGS):
    return build_model(
        settings, TransformerSettings(), functional.normalize(random(semantics_seed, items, WIDTH)), TAU, seed
    ).eval()


def make_encoder(seed=0):
    torch.manual_seed(seed)
    return Transformer(TransformerSettings(), EncoderSizes(8, 0.5, 10)).eval()


def scores(model, items):
    """[B, L, I] scores after every position."""
    catalogue = model.catalogue()
    states = model.states(catalogue, items)
    return (model.queries(states.flatten(0, 1)) @ catalogue.keys.T).unflatten(0, items.shape)


@pytest.fixture(autouse=True)
def _generator_restored():
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("position", range(1, 7))
def test_later_items_do_not_change_earlier_states(position):
    """State l is a function of the positions 0 to l only."""
    encoder, x = make_encoder(), random(1, 3, 7, 8)
    changed = x.clone()
    changed[:, position:] = 10 * random(2, 3, 7 - position, 8)
    with torch.no_grad():
        before, after = encoder(x), encoder(changed)
    torch.testing.assert_close(after[:, :position], before[:, :position], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(after[:, position:], before[:, position:], atol=1e-2)


def test_no_gradient_flows_from_a_state_to_later_items():
    encoder, x = make_encoder(), random(3, 1, 6, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(encoder(x)[0, 2].square().sum(), x)
    assert gradient[0, 3:].abs().max() == 0
    assert (gradient[0, :3].abs().amax(dim=1) > 0).all(), "but from every earlier one"


def test_order_matters():
    encoder, x = make_encoder(), random(4, 1, 5, 8)
    swapped = x[:, [1, 0, 2, 3, 4]]
    with torch.no_grad():
        assert not torch.allclose(encoder(x)[:, -1], encoder(swapped)[:, -1], atol=1e-4)


@pytest.mark.parametrize("longer", [5, 8, 10])
def test_longer_right_padding_does_not_change_valid_states(longer):
    """A history of 4 padded to 5, 8 and the maximum 10, whatever stands in the padding."""
    model, items = make_model(), torch.tensor([[3, 7, 1, 4], [2, 2, 9, 0]])
    for filler in (0, 5):
        padded = functional.pad(items, (0, longer - 4), value=filler)
        with torch.no_grad():
            catalogue = model.catalogue()
            short, long = model.states(catalogue, items), model.states(catalogue, padded)
        assert long.shape == (2, longer, 8)
        torch.testing.assert_close(long[:, :4], short, rtol=1e-5, atol=1e-6)


def test_a_history_does_not_depend_on_its_batch():
    model, items = make_model(), torch.tensor([[3, 7, 1], [2, 5, 9], [11, 0, 4]])
    with torch.no_grad():
        catalogue = model.catalogue()
        together = model.states(catalogue, items)
        apart = torch.cat([model.states(catalogue, items[b : b + 1]) for b in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_shared_parameters_depend_on_the_seed_and_not_on_the_catalogue():
    """Markets of 5 and of 400 items, with other vectors, and the server's idea of none of them."""
    expected = make_model(items=12, seed=3).shared_state()
    for items in (1, 5, 400):
        state = make_model(items=items, seed=3, semantics_seed=items).shared_state()
        assert list(state) == list(expected)
        for name, value in expected.items():
            assert torch.equal(state[name], value), name
    other = make_model(items=12, seed=4).shared_state()
    assert any(not torch.equal(other[name], value) for name, value in expected.items())


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = make_model().shared_state()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    two = make_model().shared_state()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_groups_cover_every_parameter_exactly_once():
    model = make_model()
    names = [name for name, _ in model.named_parameters()]
    groups = SequentialModel.groups
    for name in names:
        prefixes = [prefix for prefix in (*groups.shared, *groups.private) if name.startswith(prefix)]
        assert len(prefixes) == 1, name
    shared = [name for name in names if name.startswith(groups.shared)]
    assert groups.shared_names(names) == sorted(shared)
    assert list(model.shared_state()) == sorted(shared)
    assert set(shared) < set(names), "there is something private"
    for prefix in (*groups.shared, *groups.private):
        assert any(name.startswith(prefix) for name in names), f"nothing under {prefix}"


def test_nothing_shared_has_the_size_of_the_catalogue():
    """97 items: an array with 97 rows in the shared group would be an item table."""
    model = make_model(items=97)
    assert all(97 not in value.shape for value in model.shared_state().values())


def test_shared_state_is_a_copy():
    model = make_model()
    for value in model.shared_state().values():
        value.fill_(7)
    assert all((value != 7).any() for value in model.shared_state().values())


def test_at_the_start_an_item_scores_the_cosine_over_tau():
    """score_i = cos(h, g(e_i)) / tau with h the encoder's state over g(e): no identity, no bias, no adapter in it."""
    model, items = make_model(), torch.tensor([[3, 7, 1, 4], [2, 2, 9, 0]])
    with torch.no_grad():
        mapped = model.adaptor(functional.normalize(random(0, 12, WIDTH)))
        states = model.encoder(mapped[items])
        expected = functional.normalize(states, dim=-1) @ functional.normalize(mapped, dim=-1).T / TAU
        actual = scores(model, items)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert actual.abs().max() <= 1 / TAU + 1e-4


def test_fresh_adapters_change_nothing():
    encoder, x = make_encoder(), random(5, 2, 6, 8)
    with torch.no_grad():
        plain = encoder(x)
        adapted = encoder(x, [ResidualAdapter(8, 3) for _ in range(2)])
    assert torch.equal(adapted, plain)


def test_adaptation_is_used_once_it_learned_something_and_never_touches_what_is_shared():
    model, items = make_model(), torch.tensor([[3, 7, 1, 4]])
    before_scores, before_shared = scores(model, items).detach(), model.shared_state()
    for name, parameter in model.named_parameters():
        if not name.startswith("adaptation."):
            continue
        original = parameter.detach().clone()
        with torch.no_grad():
            parameter += 0.5 * random(7, *parameter.shape)
        moved = not torch.allclose(scores(model, items), before_scores, atol=1e-5)
        adapter_inside = name.count(".") > 1  # half of a bottleneck alone still gives zero
        assert moved or adapter_inside, f"{name} has no effect"
        with torch.no_grad():
            parameter.copy_(original)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("adaptation."):
                parameter += 0.5 * random(8, *parameter.shape)
    assert not torch.allclose(scores(model, items), before_scores, atol=1e-2)
    after_shared = model.shared_state()
    assert all(torch.equal(after_shared[name], value) for name, value in before_shared.items())


def test_adaptation_stays_causal_and_indifferent_to_padding():
    """With a learned adaptation as well."""
    model = make_model()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter += 0.3 * random(20 + index, *parameter.shape)
        one = scores(model, torch.tensor([[3, 7, 1]]))
        other = scores(model, torch.tensor([[3, 7, 1, 9, 9, 2]]))
    torch.testing.assert_close(other[:, :3], one, rtol=1e-4, atol=1e-4)


def test_every_parameter_can_learn():
    """After one nudge of the adaptation (its zero start blocks half of each bottleneck) all gradients are non-zero."""
    model = make_model()
    with torch.no_grad():
        for index, (name, parameter) in enumerate(model.named_parameters()):
            if name.startswith("adaptation."):
                parameter += 0.1 * random(40 + index, *parameter.shape)
    history = torch.arange(10)[None]
    functional.cross_entropy(scores(model, history).flatten(0, 1), (history[0] + 1) % 12).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_dropout_is_seeded_by_the_global_generator():
    model, items = make_model().train(), torch.tensor([[3, 7, 1, 4]])
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(scores(model, items).detach())
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])
