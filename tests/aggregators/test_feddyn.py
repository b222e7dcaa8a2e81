"""FedDyn: both halves on quadratic losses, where the answer is known."""

import numpy as np
import torch

from fedrec.aggregators.feddyn import DynamicTerm, FedDynSettings
from tests.aggregators.updates import as_updates, built

SETTINGS = FedDynSettings(alpha=0.5)


def local_optimum(slope, centre, start, memory):
    """Where market's loss slope / 2 (w - centre)^2 with the term has its minimum: by gradient steps on the code."""
    weight = torch.tensor([float(start)], dtype=torch.float64, requires_grad=True)
    term = DynamicTerm(SETTINGS)
    first = {"w": torch.tensor([float(start)], dtype=torch.float64)}
    optimiser = torch.optim.SGD([weight], lr=0.2)
    for _ in range(300):
        optimiser.zero_grad()
        loss = slope / 2 * (weight - centre).square().sum() + term.penalty({"w": weight}, first, memory)
        loss.backward()
        optimiser.step()
    reached = {"w": weight.detach()}
    return reached, term.remember(reached, first, memory)


def test_the_fixed_point_is_the_optimum_of_all_not_the_mean_of_optima():
    """Losses 2 (w - 0)^2 / 2 and 1 (w - 3)^2 / 2: together least at (2 * 0 + 1 * 3) / 3 = 1.

    FedAvg with markets that train to their ends stops at (0 + 3) / 2 = 1.5. FedDyn's paper, theorem 1: it ends at 1.
    """
    current, state = {"w": np.array([5.0])}, {}
    memories = [{}, {}]
    for _ in range(60):
        found = []
        for market, (slope, centre) in enumerate(((2.0, 0.0), (1.0, 3.0))):
            reached, memories[market] = local_optimum(slope, centre, current["w"][0], memories[market])
            found.append({"w": reached["w"].numpy()})
        current, state = built("feddyn", alpha=SETTINGS.alpha).apply(current, as_updates(found), state)
    np.testing.assert_allclose(current["w"], [1.0], atol=1e-6)


def test_the_term_by_hand():
    """Alpha / 2 (3 - 1)^2 - .25 * 3 = 1 - .75, and g moves by -.5 * 2."""
    parameters, start, memory = ({"w": torch.tensor([value])} for value in (3.0, 1.0, 0.25))
    term = DynamicTerm(SETTINGS)
    assert float(term.penalty(parameters, start, memory)) == 0.25
    assert float(term.remember(parameters, start, memory)["w"]) == -0.75
    assert float(term.penalty(parameters, start, {})) == 1.0
