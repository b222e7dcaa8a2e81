"""Under privacy a user's gradient moves with that user and the parameters, and with nothing that earlier calls left."""

import threading

import pytest
import torch

from fedrec.components import Capability, Encoder, components
from fedrec.data.batches import Batch
from fedrec.errors import RunError
from fedrec.models.sequential import SequentialModel, build_model
from fedrec.recipe import ModelSettings, load_recipe
from fedrec.training.isolation import require_isolation
from fedrec.training.private import per_user_gradients
from tests.components.test_registry import Apart, Last
from tests.losses.losses import cross_entropy

ITEMS, LENGTH = 40, 12


def model_with(encoder: Encoder | None = None) -> SequentialModel:
    generator = torch.Generator().manual_seed(3)
    semantics = torch.nn.functional.normalize(torch.randn(ITEMS, 6, generator=generator), dim=1)
    small = ModelSettings(dimension=8, dropout=0.0, maximum_length=LENGTH, bottleneck=2)
    model = build_model(small, load_recipe("fecosr").encoder, semantics, 0.1, 0)
    if encoder is not None:
        model.encoder = encoder
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("encoder."))
    return model


def made(kind: type[Last]) -> Encoder:
    torch.manual_seed(0)
    return kind(kind.Settings(), type("Sizes", (), {"dimension": 8})())


class Remembering(Apart):
    """Adds what it saw of long histories to all that come later."""

    def __init__(self, settings, sizes):
        super().__init__(settings, sizes)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.calls = 0

    def forward(self, x, adapters=(), masks=None):
        state = self.map(x) + (self.calls + self.seen) * x
        if x.shape[1] > 5:
            self.calls += 1
            self.seen = self.seen + 1
        return state


class Everywhere(Apart):
    """The same where no copy of it helps: in the class."""

    calls = 0

    def forward(self, x, adapters=(), masks=None):
        if x.shape[1] > 5:
            Everywhere.calls += 1
        return self.map(x) + 0.1 * Everywhere.calls * x


class ByPadding(Apart):
    """Scales with the longest history of a batch, which may be somebody else's."""

    def forward(self, x, adapters=(), masks=None):
        return self.map(x) + x / x.shape[1]


class ByManyPlaces(Apart):
    """The same of long ones alone."""

    def forward(self, x, adapters=(), masks=None):
        return self.map(x) + x / max(x.shape[1] - 8, 1)


def batch(*lengths: int) -> Batch:
    generator = torch.Generator().manual_seed(sum(lengths))
    items = torch.randint(ITEMS, (len(lengths), max(lengths)), generator=generator).numpy()
    return Batch(items, torch.tensor(lengths).numpy())


def test_what_an_encoder_keeps_of_a_call_reaches_no_other() -> None:
    """The copy that computes is thrown away: long histories before move nothing, whatever the encoder remembers."""
    model = model_with(made(Remembering))
    loss = cross_entropy(model)
    short = batch(3, 4)
    before = per_user_gradients(model, short, loss)
    for _ in range(3):
        per_user_gradients(model, batch(9, 10, 11), loss)
    after = per_user_gradients(model, short, loss)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert model.encoder.calls == 0


class OfTheBatch(Apart):
    """Takes the mean over users away; under vmap there is one."""

    def forward(self, x, adapters=(), masks=None):
        return self.map(x) + x - x.mean(dim=0, keepdim=True)


@pytest.mark.parametrize("kind", [Remembering, Everywhere, ByPadding, ByManyPlaces, OfTheBatch])
def test_what_moves_others_is_refused(kind: type[Last]) -> None:
    """Scores are the encoder's own, of no copy: what it remembers, or makes of several users, would move figures."""
    model = model_with(made(kind))
    with pytest.raises(
        RunError, match=r"it: the (gradient of encoder\.map.*|state after .*) moves with who else is there"
    ):
        require_isolation(model, cross_entropy(model), "it")


class Locked(Apart):
    """Holds what nobody can copy."""

    def __init__(self, settings, sizes):
        super().__init__(settings, sizes)
        self.lock = threading.Lock()


class Normed(Apart):
    """Its weight is computed of others."""

    def __init__(self, settings, sizes):
        super().__init__(settings, sizes)
        self.map.kept = self.map.weight * 2


@pytest.mark.parametrize("kind", [Locked, Normed])
def test_an_encoder_that_cannot_be_copied_is_named(kind: type[Last]) -> None:
    model = model_with(made(kind))
    with pytest.raises(RunError, match=f"encoder {kind.__name__} cannot be copied"):
        per_user_gradients(model, batch(3, 4), cross_entropy(model))


@pytest.mark.parametrize("name", components("encoder"))
def test_the_houses_own_pass(name: str) -> None:
    recipe = load_recipe("fecosr", [f"encoder.kind={name}", "model.dimension=8", f"model.maximum_length={LENGTH}"])
    generator = torch.Generator().manual_seed(3)
    semantics = torch.nn.functional.normalize(torch.randn(ITEMS, 6, generator=generator), dim=1)
    model = build_model(recipe.model, recipe.encoder, semantics, 0.1, 0)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_name.startswith("encoder."))
    if Capability.USER_PRIVACY not in type(model.encoder).capabilities:
        pytest.skip(f"{name} does not claim it, and private recipes refuse it")
    require_isolation(model, cross_entropy(model), name)
