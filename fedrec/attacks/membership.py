"""Membership: was this user, was this interaction, in the data that a market trained on?

An attacker who holds a user's whole history, and wants to know whether the market used it, asks how much better the
history is predicted after training than before (the loss attack of Yeom et al., CSF 2018, against the model before as
reference), or how many of its item pairs were counted. ``blind`` never sees what left: it must not do better than
chance, or the subjects were not drawn fairly.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.data.batches import pad
from fedrec.data.sequences import Sequences
from fedrec.models.sequential import SequentialModel

_BATCH = 128
Floats = NDArray[np.float64]


@torch.inference_mode()
def position_losses(model: SequentialModel, histories: Sequences) -> Floats:
    """Cross-entropy of every next item of U histories, [U, L]; NaN where a history has ended."""
    model.eval()
    longest = model.maximum_length
    losses = np.full((len(histories), longest), np.nan)
    catalogue = model.catalogue()
    for start in range(0, len(histories), _BATCH):
        users = np.arange(start, min(start + _BATCH, len(histories)))
        batch = pad(histories, users, longest + 1)
        items = torch.from_numpy(batch.items)  # [B, L + 1]
        if items.shape[1] < 2:
            continue
        valid = torch.arange(items.shape[1] - 1) < torch.from_numpy(batch.lengths - 1)[:, None]  # [B, L]
        states = model.states(catalogue, items[:, :-1])[valid]  # [N, d]
        scores = model.queries(states) @ catalogue.keys.T  # [N, I]
        found = torch.nn.functional.cross_entropy(scores, items[:, 1:][valid], reduction="none")
        place = losses[users, : valid.shape[1]]
        place[valid.numpy()] = found.double().numpy()
        losses[users, : valid.shape[1]] = place
    return losses


def of_users(gains: Floats) -> Floats:
    """A score per user, [U], of gains per interaction [U, L]: their mean; 0 without any."""
    known = ~np.isnan(gains)
    return np.asarray(np.where(known, gains, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def pair_scores(histories: Sequences, pairs: NDArray[np.floating]) -> Floats:
    """How far the pairs of each history are found in a market's statistic [I, I], [U]; 0 without a pair.

    Counts are cut off at one: of a member no pair that may be told is missing, and how often others had it says little.
    """
    scores = np.zeros(len(histories))
    for user in range(len(histories)):
        items = np.unique(histories.items[histories.offsets[user] : histories.offsets[user + 1]])
        if len(items) > 1:
            above = np.triu_indices(len(items), 1)
            scores[user] = np.minimum(pairs[np.ix_(items, items)][above], 1).mean()
    return scores


def blind_scores(histories: Sequences) -> Floats:
    """What can be said of the histories [U] alone: long ones of items that the subjects share stand out."""
    popularity = np.log1p(histories.item_counts())
    sums = np.bincount(histories.users, popularity[histories.items], minlength=len(histories))
    return sums / np.maximum(histories.lengths, 1) + np.log1p(histories.lengths)
