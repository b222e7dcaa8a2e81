"""Checks of the audit itself: what must be caught, and what must not."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from fedrec.attacks import items, membership
from fedrec.attacks.observation import UPLOADS
from fedrec.attacks.scores import precision_at, separation
from fedrec.clients.methods import make_sequential_trainer
from fedrec.components.attack import Finding, Observed
from fedrec.exchange.declaration import PRETRAIN
from fedrec.exchange.ledger import ledger_entries
from fedrec.exchange.pairs import count_pairs
from fedrec.exchange.payload import Origin, Payload
from fedrec.models.adaptor import ItemCodes
from fedrec.seeds import seeded_torch
from fedrec.semantics.factory import make_semantics
from fedrec.simulation.attacks.view import (
    TABLE,
    USER,
    MarketView,
    membership_finding,
)
from fedrec.training.loop import batch_loss, epoch_batches, make_optimiser, train_epoch
from fedrec.training.sequential import SequentialTrainer

_MEMORISED, _OVERFITTED_EPOCHS = 60, 80


def controls(view: MarketView) -> Iterator[Finding]:
    """What must come out, if the audit is sound."""
    histories, member = view.subjects
    blind = membership_finding(
        view, USER, "nobody", "length and popularity", membership.blind_scores(histories), member
    )
    yield replace(blind, control="never sees what left: about .5")
    if Observed.ROUNDS in view.observed and view.smallest:
        yield _overfitted(view)
        yield _plain_table(view)
    if view.observation.pairs:
        own = view.replay.nodes[view.name].prepare(view.recipe).train.matrix()
        exact = count_pairs(own, 1).matrix().toarray()
        found = membership_finding(
            view, USER, UPLOADS, "all item pairs, not noised", membership.pair_scores(histories, exact), member
        )
        yield replace(found, control="must be caught")


def _overfitted(view: MarketView) -> Finding:
    """A model that has learned some of those who took part by heart, and nobody else."""
    histories, member = view.subjects
    ids = np.flatnonzero(member)[:_MEMORISED]
    trainer = make_sequential_trainer(view.replay.nodes[view.name], view.recipe, "federated")
    model = trainer.model
    training = view.recipe.training.model_copy(update={"weight_decay": 0.0, "batch_size": 16})
    before = membership.position_losses(model, histories)
    model.requires_grad_(True)
    optimiser = make_optimiser(model, training, 5e-3)
    learned = histories.take(ids)
    with seeded_torch(view.recipe.seed, view.name, "overfitted"):
        for epoch in range(_OVERFITTED_EPOCHS):
            batches = epoch_batches(learned, training, model, view.generator(f"overfitted {epoch}"))
            train_epoch(model, batches, optimiser, lambda batch: batch_loss(model, batch, trainer.objective.hard()))
    gains = membership.of_users(before - membership.position_losses(model, histories))
    asked = np.concatenate([ids, np.flatnonzero(~member)])
    found = membership_finding(view, USER, UPLOADS, "loss of an overfitted model", gains[asked], member[asked])
    return replace(found, control="must be caught")


def _plain_table(view: MarketView) -> Finding:
    """One round of plain averaging of item tables over all catalogues: rows that moved are what is sold here."""
    market = view.replay.nodes[view.name].prepare(view.recipe)
    union = sorted({key for other in view.everyone.values() for key in other.items})
    place = {key: index for index, key in enumerate(union)}
    rows = torch.tensor([place[key] for key in market.items])
    nothing = torch.zeros(len(rows), 0, dtype=torch.int64)
    plain = view.recipe.model_copy(
        update={"training": view.recipe.training.model_copy(update={"weight_decay": 0.0, "proximal": 0.0})}
    )
    semantics = make_semantics(plain.semantics, plain.seed)
    vectors = semantics.finish(np.zeros((len(rows), semantics.dimension)), market.items)
    trainer = SequentialTrainer.on(plain, market, vectors, ItemCodes(rows[:, None], (len(union),), nothing, ()))
    table = "adaptor.levels.0.weight"
    before = trainer.model.shared_state()[table].numpy()
    trainer.pretrain_round(1)
    after = trainer.model.shared_state()[table].numpy()
    (line,) = ledger_entries(Payload({table: after}, base={table: before}), Origin(view.name, 1, PRETRAIN))
    truth = np.zeros(len(union) + 1, bool)
    truth[rows.numpy()] = True
    guess = np.zeros(len(union) + 1)
    for name, other in view.everyone.items():
        if name != view.name:
            guess[[place[key] for key in other.items]] += other.train.item_counts()
    moved = items.rows_moved(before, after)
    figures = {
        "auc": separation(moved, truth).auc,
        "auc by popularity": separation(guess, truth).auc,
        "precision@50": precision_at(moved, truth, 50),
        "precision@50 by popularity": precision_at(guess, truth, 50),
        "rows": float(line["rows"]),
        "rows changed": float(line["rows_changed"]),
    }
    return Finding(
        view.name,
        TABLE,
        UPLOADS,
        "rows of a table that moved",
        figures,
        "plain averaging of item tables: must be caught",
    )
