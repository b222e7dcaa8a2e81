"""Which items lie behind a code, from its counts and sums."""

from collections.abc import Iterator

import numpy as np
import torch

from fedrec.attacks import inversion
from fedrec.attacks.observation import UPLOADS
from fedrec.clients.codes import make_code_trainer
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.exchange.codebook import COUNT, LEVEL, SUM
from fedrec.models.quantiser import nearest
from fedrec.semantics.factory import make_semantics
from fedrec.simulation.attacks.view import (
    CODES,
    MarketView,
)


class CodesAttack(Attack):
    """A sum over few items is nearly one of them."""

    needs = frozenset({Observed.CODES})

    def findings(self, view: MarketView) -> Iterator[Finding]:
        """In one market."""
        node = view.replay.nodes[view.name]
        last = view.observation.of("codebook")[-1]
        if view.name not in last.uploads:
            return
        trainer = make_code_trainer(node, view.recipe, alone=False)
        encoder = {n: torch.from_numpy(np.array(a)) for n, a in last.sent.items() if not n.startswith(LEVEL)}
        trainer.model.load_state_dict(encoder, strict=False)
        semantics = make_semantics(view.recipe.semantics, view.recipe.seed)
        keys = view.everyone[view.name].items
        received = view.observation.vectors.get(view.name)
        evidence = view.everyone[view.name].evidence
        raw = semantics.alone(evidence) if received is None else np.asarray(received, np.float32)
        vectors = semantics.finish(raw, keys).vectors * semantics.dimension**0.5
        with torch.inference_mode():
            candidates = trainer.model.encoder(torch.from_numpy(vectors.astype(np.float32))).numpy()  # [I, d]
            inputs = (torch.from_numpy(part) for part in (trainer.inputs.common, trainer.inputs.own))
            codebook = torch.from_numpy(np.array(last.sent[f"{LEVEL}0"], np.float32))
            codes = nearest(trainer.model.first(*inputs), codebook).numpy()  # [I] what the market counted
        told = last.uploads[view.name].statistics
        count, total = np.asarray(told[f"{COUNT}0"], np.int64), np.asarray(told[f"{SUM}0"], np.float64)
        figures = {}
        for first in (1, 10):
            figures[f"top {first}"] = inversion.inverted(count, total, candidates, codes, first)
            known = inversion.by_codebook(count, codebook.numpy(), candidates, codes, first)
            figures[f"top {first} by the codebook"] = known
        yield Finding(view.name, CODES, UPLOADS, "counts and sums of the first level", figures)
