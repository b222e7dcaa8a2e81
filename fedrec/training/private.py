"""Training under differential privacy: one user, with the whole history, is the unit (DP-SGD with per-user gradients).

Abadi et al., CCS 2016, with users for examples as in McMahan et al., ICLR 2018: each step draws users by Poisson
sampling, clips every user's gradient over all trained numbers together, sums, adds Gaussian noise to every number
(touched or not), and divides by the expected, not the actual, number of users. What the optimiser makes of it costs
nothing more. A user's loss is the mean over the own next-item positions, so that nobody weighs more for a longer
history. The private adaptation is not in the model here: it is zero in stage one.

What is drawn for a user, whether to take part and what dropout leaves, comes from the market's secret, the question and
that user alone. Were it to move with others, one user more would change everybody's gradient, whatever the clipping.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedrec.components.encoder import Encoder
from fedrec.components.loss import Loss
from fedrec.data.batches import Batch, pad
from fedrec.data.sequences import Sequences
from fedrec.errors import RunError
from fedrec.models.dropout import EncoderMasks
from fedrec.models.sequential import SequentialModel
from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.release import Release

_ADAPTOR, _ENCODER = "adaptor.", "encoder."
_TOGETHER, _OWN_CATALOGUES = 128, 8  # users whose gradients exist at a time
State = dict[str, Tensor]


@dataclass(frozen=True)
class PrivateSteps:
    """How a round's private steps go, as ``release`` has them accounted for."""

    clip_norm: float
    release: Release
    users: int  # of the market, which is known: what a sum is divided by does not depend on who is in it
    noise: SecretNoise
    purpose: str  # what noise is drawn for: the release, and what went into it, the market's data too
    asked: str  # what is drawn for users: the question alone

    @property
    def expected(self) -> float:
        """Users expected in a step."""
        return self.release.sampling * self.users

    def sample(self, people: Sequence[str], step: int) -> NDArray[np.int64]:
        """Who of ``people`` takes part in a step: each with the same chance, independently."""
        return np.flatnonzero(self.noise.chances(people, self.asked, "users", step) < self.release.sampling)

    def masks(self, encoder: Encoder, people: Sequence[str], step: int, length: int) -> EncoderMasks | None:
        """What dropout leaves of each person's numbers in a step; None where nothing is dropped."""
        shape = encoder.mask_shape
        if shape is None or not shape.chance:
            return None
        words = [self.noise.words(person, shape.words, self.asked, "dropout", step) for person in people]
        drawn = torch.from_numpy(np.stack(words).astype(np.int32))  # [B, words]
        return shape.masks(drawn.to(next(encoder.parameters()).device), length)

    def noised(self, total: State, step: int) -> State:
        """The sum over users plus noise on every number, over the expected number of users."""
        scale = self.clip_norm * self.release.noise_multiplier
        result = {}
        for name, value in sorted(total.items()):
            noise = torch.from_numpy(self.noise.gaussian(tuple(value.shape), self.purpose, "noise", step, name))
            result[name] = ((value.double() + scale * noise.to(value.device)) / self.expected).to(value.dtype)
        return result


def private_round(
    model: SequentialModel,
    sequences: Sequences,
    people: Sequence[str],
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    steps: PrivateSteps,
) -> None:
    """One optimiser step per noised sum over ``sequences`` [U] of ``people`` [U]. What requires gradients, trains."""
    model.eval()  # nothing is drawn but what is handed in
    for step in range(steps.release.steps):
        batches = _batches(model, sequences, steps.sample(people, step))
        whose = ((batch, [people[user] for user in users]) for batch, users in batches)
        private_step(model, whose, optimiser, loss, steps, step)


def private_step(
    model: SequentialModel,
    batches: Iterable[tuple[Batch, Sequence[str]]],
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    steps: PrivateSteps,
    step: int,
) -> None:
    """One optimiser step on the noised sum over the users of ``batches``, with their ids: all that a step has drawn."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for batch, people in batches:
        masks = steps.masks(model.encoder, people, step, batch.items.shape[1] - 1)
        gradients = per_user_gradients(model, batch, loss, masks)
        for name, value in clipped_sum(gradients, steps.clip_norm).items():
            total[name] += value
    for name, gradient in steps.noised(total, step).items():
        parameters[name].grad = gradient
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def per_user_gradients(
    model: SequentialModel,
    batch: Batch,
    loss: Loss,
    masks: EncoderMasks | None = None,
    encoder: Encoder | None = None,
) -> dict[str, Tensor]:
    """The gradient of every user's own mean loss, [B, *shape] by name of each parameter that requires one.

    ``masks`` [B, ...] are what dropout leaves; nothing else is dropped, and nothing drawn. ``encoder`` computes in
    place of a copy of the model's.

    Every user gets parameters of their own, which all have the same values; one backward pass then tells them apart.
    Where the adaptor trains, every user also gets a catalogue of their own: that is what makes it slow.
    """
    device = model.semantics.device
    items = torch.from_numpy(batch.items).to(device)  # [B, L + 1]
    lengths = torch.from_numpy(batch.lengths).to(device) - 1  # [B] positions that have a next item
    valid = torch.arange(items.shape[1] - 1, device=device) < lengths[:, None]  # [B, L]
    own = {
        name: value.detach().expand(len(items), *value.shape).requires_grad_()
        for name, value in model.named_parameters()
        if value.requires_grad
    }
    encoders, adaptors = _part(model, own, _ENCODER, len(items)), _part(model, own, _ADAPTOR, len(items))
    inputs, alike = model.distinct
    places = items[:, :-1] if alike is None else alike.place[items[:, :-1]]  # [B, L] rows of ``inputs``
    everyones = not any(name.startswith(_ADAPTOR) for name in own)
    if everyones:
        with torch.no_grad():
            vectors = model.adaptor(inputs)  # [D, d]
        histories = vectors[places]  # [B, L, d]
    else:
        vectors = vmap(lambda state: functional_call(model.adaptor, state, (inputs,)))(adaptors)  # [B, D, d]
        histories = torch.stack([own_vectors[row] for own_vectors, row in zip(vectors, places, strict=True)])
    computing = encoder or _unused(model.encoder)
    with sdpa_kernel(SDPBackend.MATH):  # the fused one would run user by user under vmap
        states = vmap(
            lambda state, x, own: functional_call(computing, state, (x[None], (), own))[0],
            in_dims=(0, 0, None if masks is None else 0),
        )(encoders, histories, masks)  # [B, L, d]
    share = (valid / lengths[:, None]).to(states.dtype)  # [B, L] every user's positions sum to one
    if everyones:
        queries = model.queries(states[valid])
        total = loss(queries, _keys(vectors), items[:, 1:][valid], weights=share[valid], alike=alike)
    else:
        queries = model.queries(states.flatten(0, 1)).view(*states.shape[:2], -1)  # [B, L, d + 1]
        scores = queries @ _keys(vectors).transpose(1, 2)  # [B, L, D]
        total = (share * loss.of_scores(scores, items[:, 1:], alike)).sum()
    return dict(zip(own, torch.autograd.grad(total, list(own.values())), strict=True))


def clipped_sum(gradients: Mapping[str, Tensor], clip_norm: float) -> State:
    """Sum over users of gradients [B, *shape], each user's scaled down to ``clip_norm`` over all parameters together.

    A gradient that is not finite counts as zero: it must not become everyone's.
    """
    parts = [
        torch.linalg.vector_norm(value.reshape(len(value), math.prod(value.shape[1:])), dim=1).double()
        for value in gradients.values()
    ]  # each [B]
    norms = torch.linalg.vector_norm(torch.stack(parts), dim=0)  # [B]
    factors = (clip_norm / norms).clamp(max=1.0).float()  # [B]
    finite = torch.isfinite(norms)
    if not finite.all():
        gradients, factors = {name: value[finite] for name, value in gradients.items()}, factors[finite]
    return {name: torch.tensordot(factors, value, dims=1) for name, value in gradients.items()}


def users_together(model: SequentialModel) -> int:
    """How many users' gradients exist at a time: few, where each of them has a catalogue of many items."""
    own_catalogue = any(parameter.requires_grad for parameter in model.adaptor.parameters())
    return _OWN_CATALOGUES if own_catalogue and model.codes is None else _TOGETHER


def _batches(
    model: SequentialModel, sequences: Sequences, users: NDArray[np.int64]
) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
    """Those of ``users`` who have a next item, some at a time, users of like length together."""
    able = users[sequences.lengths[users] >= 2]
    able = able[np.argsort(sequences.lengths[able], kind="stable")]
    size = users_together(model)
    for start in range(0, len(able), size):
        some = able[start : start + size]
        yield pad(sequences, some, model.maximum_length + 1), some


def _part(model: SequentialModel, own: Mapping[str, Tensor], prefix: str, users: int) -> State:
    """All parameters below ``prefix``, without it: the users' own, else the model's, which stay as they are."""
    return {
        name.removeprefix(prefix): own.get(name, value.detach().expand(users, *value.shape))
        for name, value in model.named_parameters()
        if name.startswith(prefix)
    }


def _unused(encoder: Encoder) -> Encoder:
    """A copy on the same parameters: what an encoder keeps of a call (a counter, a running mean) must reach no other.

    Who is in a call depends on who else takes part, and noise covers a user's own gradient alone.
    """
    try:
        return copy.deepcopy(encoder, {id(parameter): parameter for parameter in encoder.parameters()})
    except (RuntimeError, TypeError) as error:  # what is computed of parameters, locks, open files
        raise RunError(
            f"encoder {type(encoder).__name__} cannot be copied ({type(error).__name__}), and under privacy every step "
            "computes on a copy; keep nothing in it but parameters, buffers and plain values, or turn privacy off"
        ) from error


def _keys(vectors: Tensor) -> Tensor:
    """What queries are compared with, [I, d + 1]: directions, and no bias."""
    return F.pad(F.normalize(vectors, dim=-1), (0, 1))
