"""What one user bought, from the gradient of that user alone (Zhu et al., NeurIPS 2019, in spirit)."""

from collections.abc import Iterator

import numpy as np
import torch

from fedrec.attacks import items, reconstruction
from fedrec.attacks.observation import UPLOADS
from fedrec.attacks.scores import recall_at
from fedrec.clients.methods import make_sequential_trainer
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.components.capability import Capability
from fedrec.data.batches import pad
from fedrec.privacy.plan import plan_market
from fedrec.simulation.attacks.view import (
    SEQUENCE,
    MarketView,
)
from fedrec.training.private import clipped_sum, per_user_gradients

_VICTIMS = 40


class GradientAttack(Attack):
    """No round sends such a gradient by itself: an upper bound of what it would tell."""

    needs = frozenset({Observed.ROUNDS})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """In one market."""
        histories, member = view.subjects
        privacy = view.recipe.privacy
        plan = plan_market(view.recipe, view.everyone[view.name].store.users) if privacy.on else None
        model = items.load(view.model, view.observation.of("pretrain")[0].sent)
        trainer = make_sequential_trainer(view.replay.nodes[view.name], view.recipe, "federated")
        if not all(Capability.USER_PRIVACY in one.capabilities for one in (model.encoder, trainer.objective)):
            return  # one user's gradient cannot be taken apart, and no round sends it by itself
        model.requires_grad_(False)
        model.encoder.requires_grad_(True)
        model.adaptor.requires_grad_(not privacy.on or privacy.trains == "everything")
        victims = view.generator("victims").permutation(np.flatnonzero(member))[:_VICTIMS]
        recalls, guesses = [], []
        for victim in victims:
            batch = pad(histories, np.array([victim]), model.maximum_length + 1)
            model.eval()
            each = per_user_gradients(model, batch, trainer.objective)
            gradient = {name: value[0] for name, value in each.items()}
            if plan is not None and plan.update is not None:
                gradient = _noised(view, each, privacy.clip_norm * plan.update.noise_multiplier, int(victim))
            truth = np.zeros(len(model.semantics), bool)
            truth[batch.items[0]] = True
            recalls.append(recall_at(reconstruction.item_scores(model, gradient), truth, 10))
            guesses.append(recall_at(view.elsewhere, truth, 10))
        model.requires_grad_(True)
        figures = {"recall@10": float(np.mean(recalls)), "by popularity": float(np.mean(guesses))}
        yield Finding(view.name, SEQUENCE, UPLOADS, "gradient of that user alone", figures)


def _noised(view: MarketView, gradients: dict[str, torch.Tensor], scale: float, victim: int) -> dict[str, torch.Tensor]:
    generator = view.generator(f"noise {victim}")
    return {
        name: value + scale * torch.from_numpy(generator.standard_normal(value.shape)).float()
        for name, value in clipped_sum(gradients, view.recipe.privacy.clip_norm).items()
    }
