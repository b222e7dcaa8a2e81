"""One-run audit of a market's noise: the very code that clips, samples and noises, fed with users made to be seen.

Each of many canaries, if its coin says so, contributes what is easiest to find: to every step a gradient along an axis
of its own, ten times longer than is allowed; to the item pairs a history of one item of its own. The score of a canary
is what the releases hold along its axis, weighed by how little noise they have. The bound that follows must lie below
the epsilon that the plan states; a mechanism that clips or noises too little is caught.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.noised_pairs import noised_statistic, pair_statistic, symmetric
from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.plan import PrivacyPlan
from fedrec.training.private import PrivateSteps, State, clipped_sum

_TOO_LONG = 10.0
Clip = Callable[[State, float], State]


def canary_scores(
    plan: PrivacyPlan, clip_norm: float, present: NDArray[np.bool_], noise: SecretNoise, clip: Clip = clipped_sum
) -> NDArray[np.float64]:
    """What the releases of a whole plan say of each canary, [N], of which those ``present`` [N] take part."""
    count = len(present)
    scores = np.zeros(count)
    if plan.pairs is not None:
        histories = sparse.csr_matrix(sparse.diags(present.astype(np.float64)))
        released = noised_statistic(pair_statistic(histories), plan.pairs, noise, "audit pairs")
        scores += np.diag(symmetric(released, count)) / plan.pairs.noise_multiplier**2
    for number, update in enumerate([plan.update] * plan.rounds if plan.update is not None else []):
        purpose = f"audit round {number}"
        steps = PrivateSteps(clip_norm, update, count, noise, purpose, purpose)
        scores += _in_steps(steps, present, clip)
    return scores


def _in_steps(steps: PrivateSteps, present: NDArray[np.bool_], clip: Clip) -> NDArray[np.float64]:
    found = np.zeros(len(present))
    canaries = [str(number) for number in range(len(present))]
    weight = steps.release.sampling / steps.release.noise_multiplier**2
    for step in range(steps.release.steps):
        chosen = steps.sample(canaries, step)
        gradients = torch.zeros(len(chosen), len(present))
        gradients[torch.arange(len(chosen)), torch.from_numpy(chosen)] = _TOO_LONG * steps.clip_norm
        total = clip({"canary": gradients[torch.from_numpy(present[chosen])]}, steps.clip_norm)
        released = steps.noised(total, step)["canary"].double().numpy()
        found += weight * released * steps.expected / steps.clip_norm
    return found


def fair_coins(count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Who takes part, each on a coin of their own."""
    return np.asarray(generator.random(count) < 0.5)


def planned(plans: Sequence[PrivacyPlan]) -> PrivacyPlan:
    """The plan of the market with the largest epsilon: the one that is worth auditing."""
    return max(plans, key=lambda plan: plan.epsilon)
