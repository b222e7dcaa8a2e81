"""The attacks on one market of a replayed run: who is asked about, what each observer holds, what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from clients.codes import make_code_trainer
from clients.contenders import make_sequential_trainer
from fedrec.attacks import inversion, items, membership, reconstruction
from fedrec.attacks.observation import PEER, SUMS, UPLOADS, Arrays, Observation, ObserverName
from fedrec.attacks.scores import epsilon_at_least, precision_at, recall_at, separation
from fedrec.components.encoder import Capability
from fedrec.data.batches import pad
from fedrec.data.draws import UserDraws
from fedrec.data.sequences import Sequences
from fedrec.data.splits import members
from fedrec.exchange.codebook import COUNT, LEVEL, SUM
from fedrec.exchange.declaration import PRETRAIN
from fedrec.exchange.ledger import ledger_entries
from fedrec.exchange.noised_pairs import PAIRS, read_triangle, symmetric
from fedrec.exchange.pairs import count_pairs, read_pairs, read_summed
from fedrec.exchange.payload import Origin, Payload
from fedrec.models.adaptor import ItemCodes
from fedrec.models.quantiser import nearest
from fedrec.models.sequential import SequentialModel
from fedrec.privacy.plan import plan_market
from fedrec.recipe import Recipe
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.semantics.factory import make_semantics
from fedrec.simulation.replay import Replay
from fedrec.training.loop import batch_loss, epoch_batches, make_optimiser, train_epoch
from fedrec.training.prepared import PreparedMarket
from fedrec.training.private import clipped_sum, per_user_gradients
from fedrec.training.sequential import SequentialTrainer

USER, INTERACTION = "membership of a user", "membership of an interaction"
ITEM_SET, TABLE = "best sellers", "catalogue"
CODES, SEQUENCE = "items behind codes", "items of a user"
_SUBJECTS = 400  # of a market at most, those who took part and those who did not
_ROUNDS = 10  # of a run, evenly spread, that are attacked one by one
_VICTIMS = 40
_MEMORISED, _OVERFITTED_EPOCHS = 60, 80
Floats = NDArray[np.float64]


class TooFewError(Exception):
    """A market without people of both kinds."""


@dataclass(frozen=True)
class Finding:
    """What one attack came to in one market. ``control``: a check of the audit itself, with what must come out."""

    market: str
    attack: str
    observer: str
    by: str
    figures: dict[str, float]
    control: str = ""


@dataclass(frozen=True)
class MarketAttacks:
    """The attacks on one market."""

    replay: Replay
    name: str
    everyone: dict[str, PreparedMarket]
    overfit: bool  # whether the control of an overfitted model is made here

    def findings(self) -> Iterator[Finding]:
        """All of them, controls last."""
        observed = self.observation
        if observed.of("pretrain"):
            yield from self._by_loss()
            yield from self._best_sellers()
            yield from self._sequences()
        if observed.pairs:
            yield from self._by_pairs()
        if observed.of("codebook") and self.replay.recipe.alignment != "none":
            yield from self._codes()
        yield from self._controls()

    @property
    def observation(self) -> Observation:
        """What was seen."""
        return self.replay.observation

    @cached_property
    def recipe(self) -> Recipe:
        """Of the replay, but attacks are computed on the CPU."""
        training = self.replay.recipe.training.model_copy(update={"device": "cpu"})
        return self.replay.recipe.model_copy(update={"training": training})

    def generator(self, purpose: str) -> np.random.Generator:
        """Chance of the audit's own."""
        return numpy_generator(self.recipe.seed, self.name, "audit", purpose)

    @cached_property
    def subjects(self) -> tuple[Sequences, NDArray[np.bool_]]:
        """Histories of people whose attendance a fair coin decided, and what it said.

        Of the users, each of whom took part with the same chance, the more frequent kind is thinned out at random: so
        that among those who remain, one coin each has decided.
        """
        market, share = self.everyone[self.name], self.recipe.data.user_share
        clicks = self.recipe.task == "ctr"
        ids = np.arange(len(market.train)) if clicks else market.split.learners
        users = market.ctr.users if clicks else market.split.users
        draws = market.draws or UserDraws.of_seed(0 if clicks else self.recipe.seed, market.store.name)
        took_part = members(users, draws, share)[ids]
        generator = self.generator("subjects")
        keep = np.where(took_part, min(1, (1 - share) / share), min(1, share / (1 - share)))
        chosen = np.flatnonzero((generator.random(len(ids)) < keep) & (market.train.lengths >= 2))
        chosen = np.sort(generator.permutation(chosen)[:_SUBJECTS])
        member = took_part[chosen]
        if not 0 < member.sum() < len(member):
            raise TooFewError(f"{int(member.sum())} of {len(member)} subjects took part; there is nobody to compare")
        return market.train.take(chosen), member

    @cached_property
    def elsewhere(self) -> Floats:
        """How often the other markets' histories have each of this market's items, [I]: what anyone could guess by."""
        place = {key: index for index, key in enumerate(self.everyone[self.name].items)}
        counts = np.zeros(len(place))
        for name, market in self.everyone.items():
            if name != self.name:
                for key, count in zip(market.items, market.train.item_counts(), strict=True):
                    if key in place:
                        counts[place[key]] += count
        return counts

    @cached_property
    def model(self) -> SequentialModel:
        """The market's model, to be loaded with what was observed. Item vectors are taken to be known."""
        return make_sequential_trainer(self.replay.nodes[self.name], self.recipe, "federated").model

    def steps(self, observer: ObserverName) -> list[tuple[Arrays, Arrays]]:
        """Some of the rounds' models before and after, as the observer knows them."""
        found = self.observation.steps("pretrain", self.name, observer)
        places = np.unique(np.linspace(0, len(found) - 1, min(_ROUNDS, len(found))).astype(int))
        return [found[place] for place in places]

    def _by_loss(self) -> Iterator[Finding]:
        histories, member = self.subjects
        for observer in (UPLOADS, SUMS):
            if not self.steps(observer):
                continue  # never sampled
            gains = np.mean([self._gain(histories, *step) for step in self.steps(observer)], axis=0)
            label = "loss before and after" if observer == UPLOADS else "loss before the first and after the last round"
            known = ~np.isnan(gains)
            users = membership.of_users(gains)
            of_interactions = {"scores": gains[known], "member": np.repeat(member, known.sum(axis=1))}
            for seen in (observer,) if observer == UPLOADS else (SUMS, PEER):
                yield self._membership(USER, seen, label, users, member)
                yield self._membership(INTERACTION, seen, label, **of_interactions)
            if observer == UPLOADS:
                shuffled = self.generator("labels").permutation(member)
                control = "random labels: .5"
                yield replace(self._membership(USER, observer, label, users, shuffled), control=control)

    def _gain(self, histories: Sequences, before: Arrays, after: Arrays) -> Floats:
        losses = [membership.position_losses(items.load(self.model, state), histories) for state in (before, after)]
        return losses[0] - losses[1]

    def _by_pairs(self) -> Iterator[Finding]:
        histories, member = self.subjects
        for observer in (UPLOADS, SUMS):
            scores = membership.pair_scores(histories, self._pairs(observer))
            yield self._membership(USER, observer, "item pairs", scores, member)
        for by, known in self._peers():
            yield self._membership(USER, PEER, by, membership.pair_scores(histories, known), member)
        generator = self.generator("best sellers by pairs")
        truth = items.best_sellers(self.everyone[self.name].train.item_counts())
        totals = self._pairs(UPLOADS).sum(axis=1) + generator.random(len(truth)) * 1e-9
        yield self._ranked(ITEM_SET, UPLOADS, "item pairs", totals, truth)

    def _pairs(self, observer: ObserverName) -> Floats:
        """What the server knows of this market's item pairs, [I, I]: its own, or the sum of all."""
        keys = self.everyone[self.name].items
        if observer == UPLOADS:
            return self._sent(self.name)[1]
        total = np.zeros((len(keys), len(keys)))
        for name in self.observation.pairs:
            theirs, matrix = self._sent(name)
            self._add(total, theirs, matrix)
        return total

    def _peers(self) -> Iterator[tuple[str, Floats]]:
        """What the peer with the most items in common was sent that was made of pairs: vectors, counts of all."""
        keys = self.everyone[self.name].items
        peers = {name: len(set(other.items) & set(keys)) for name, other in self.everyone.items() if name != self.name}
        if not peers:
            return
        peer = max(peers, key=lambda name: (peers[name], name))
        theirs, size = self.everyone[peer].items, (len(keys), len(keys))
        if peer in self.observation.vectors:
            vectors = np.asarray(self.observation.vectors[peer], np.float64)
            unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
            alike = np.zeros(size)
            self._add(alike, theirs, unit @ unit.T)
            yield "item vectors that a peer was sent", alike
        if peer in self.observation.counts:
            arrays, counted = self.observation.counts[peer], np.zeros(size)
            if PAIRS in arrays:
                matrix = symmetric(read_triangle(arrays, len(theirs)), len(theirs)).astype(np.float64)
            else:
                summed = read_summed(arrays, len(theirs))
                matrix = summed.counts.restricted(summed.own).matrix().toarray()
            self._add(counted, theirs, matrix)
            yield "item pairs of all that a peer was sent", counted

    def _add(self, total: Floats, theirs: list[str], matrix: Floats) -> None:
        place = {key: index for index, key in enumerate(self.everyone[self.name].items)}
        common = [(place[key], index) for index, key in enumerate(theirs) if key in place]
        if common:
            here, there = (np.array(part) for part in zip(*common, strict=True))
            total[np.ix_(here, here)] += matrix[np.ix_(there, there)]

    def _sent(self, name: str) -> tuple[list[str], Floats]:
        payload = self.observation.pairs[name]
        keys = [str(key) for key in payload.texts["items"]]
        if PAIRS in payload.arrays:
            return keys, symmetric(read_triangle(payload.arrays, len(keys)), len(keys)).astype(np.float64)
        diagonal = bool((payload.arrays["first"] == payload.arrays["second"]).any())
        return keys, read_pairs(payload.arrays, len(keys), 1, diagonal).matrix().toarray()

    def _best_sellers(self) -> Iterator[Finding]:
        truth = items.best_sellers(self.everyone[self.name].train.item_counts())
        for observer in (UPLOADS, SUMS):
            found: list[Floats] = []
            if not self.steps(observer):
                continue
            for before, after in self.steps(observer):
                ends = [
                    items.preference(items.load(self.model, state), self.generator("probes"))
                    for state in (before, after)
                ]
                found.append(ends[1] - ends[0])
            for seen in (observer,) if observer == UPLOADS else (SUMS, PEER):
                yield self._ranked(ITEM_SET, seen, "what the model came to prefer", np.mean(found, axis=0), truth)

    def _sequences(self) -> Iterator[Finding]:
        histories, member = self.subjects
        privacy = self.recipe.privacy
        plan = plan_market(self.recipe, self.everyone[self.name].store.users) if privacy.on else None
        model = items.load(self.model, self.observation.of("pretrain")[0].sent)
        if Capability.USER_PRIVACY not in model.encoder.capabilities:
            return  # one user's gradient cannot be taken apart, and no round sends it by itself
        trainer = make_sequential_trainer(self.replay.nodes[self.name], self.recipe, "federated")
        model.requires_grad_(False)
        model.encoder.requires_grad_(True)
        model.adaptor.requires_grad_(not privacy.on or privacy.trains == "everything")
        victims = self.generator("victims").permutation(np.flatnonzero(member))[:_VICTIMS]
        recalls, guesses = [], []
        for victim in victims:
            batch = pad(histories, np.array([victim]), model.maximum_length + 1)
            model.eval()
            each = per_user_gradients(model, batch, trainer.soft, self.recipe.loss.lam)
            gradient = {name: value[0] for name, value in each.items()}
            if plan is not None and plan.update is not None:
                gradient = self._noised(each, privacy.clip_norm * plan.update.noise_multiplier, int(victim))
            truth = np.zeros(len(model.semantics), bool)
            truth[batch.items[0]] = True
            recalls.append(recall_at(reconstruction.item_scores(model, gradient), truth, 10))
            guesses.append(recall_at(self.elsewhere, truth, 10))
        model.requires_grad_(True)
        figures = {"recall@10": float(np.mean(recalls)), "by popularity": float(np.mean(guesses))}
        yield Finding(self.name, SEQUENCE, UPLOADS, "gradient of that user alone", figures)

    def _noised(self, gradients: dict[str, torch.Tensor], scale: float, victim: int) -> dict[str, torch.Tensor]:
        generator = self.generator(f"noise {victim}")
        return {
            name: value + scale * torch.from_numpy(generator.standard_normal(value.shape)).float()
            for name, value in clipped_sum(gradients, self.recipe.privacy.clip_norm).items()
        }

    def _codes(self) -> Iterator[Finding]:
        node = self.replay.nodes[self.name]
        last = self.observation.of("codebook")[-1]
        if self.name not in last.uploads:
            return
        trainer = make_code_trainer(node, self.recipe, alone=False)
        encoder = {n: torch.from_numpy(np.array(a)) for n, a in last.sent.items() if not n.startswith(LEVEL)}
        trainer.model.load_state_dict(encoder, strict=False)
        semantics = make_semantics(self.recipe, self.recipe.semantics.kind)
        keys = self.everyone[self.name].items
        received = self.observation.vectors.get(self.name)
        evidence = self.everyone[self.name].evidence
        raw = semantics.alone(evidence) if received is None else np.asarray(received, np.float32)
        vectors = semantics.finish(raw, keys).vectors * semantics.dimension**0.5
        with torch.inference_mode():
            candidates = trainer.model.encoder(torch.from_numpy(vectors.astype(np.float32))).numpy()  # [I, d]
            inputs = (torch.from_numpy(part) for part in (trainer.inputs.common, trainer.inputs.own))
            codebook = torch.from_numpy(np.array(last.sent[f"{LEVEL}0"], np.float32))
            codes = nearest(trainer.model.first(*inputs), codebook).numpy()  # [I] what the market counted
        told = last.uploads[self.name].statistics
        count, total = np.asarray(told[f"{COUNT}0"], np.int64), np.asarray(told[f"{SUM}0"], np.float64)
        figures = {}
        for first in (1, 10):
            figures[f"top {first}"] = inversion.inverted(count, total, candidates, codes, first)
            known = inversion.by_codebook(count, codebook.numpy(), candidates, codes, first)
            figures[f"top {first} by the codebook"] = known
        yield Finding(self.name, CODES, UPLOADS, "counts and sums of the first level", figures)

    def _controls(self) -> Iterator[Finding]:
        histories, member = self.subjects
        blind = self._membership(USER, "nobody", "length and popularity", membership.blind_scores(histories), member)
        yield replace(blind, control="never sees what left: about .5")
        if self.observation.of("pretrain") and self.overfit:
            yield self._overfitted()
            yield self._plain_table()
        if self.observation.pairs:
            own = self.replay.nodes[self.name].prepare(self.recipe).train.matrix()
            exact = count_pairs(own, 1).matrix().toarray()
            found = self._membership(
                USER, UPLOADS, "all item pairs, not noised", membership.pair_scores(histories, exact), member
            )
            yield replace(found, control="must be caught")

    def _overfitted(self) -> Finding:
        """A model that has learned some of those who took part by heart, and nobody else."""
        histories, member = self.subjects
        ids = np.flatnonzero(member)[:_MEMORISED]
        trainer = make_sequential_trainer(self.replay.nodes[self.name], self.recipe, "federated")
        model = trainer.model
        training = self.recipe.training.model_copy(update={"weight_decay": 0.0, "batch_size": 16})
        before = membership.position_losses(model, histories)
        model.requires_grad_(True)
        optimiser = make_optimiser(model, training, 5e-3)
        learned = histories.take(ids)
        with seeded_torch(self.recipe.seed, self.name, "overfitted"):
            for epoch in range(_OVERFITTED_EPOCHS):
                batches = epoch_batches(learned, training, model, self.generator(f"overfitted {epoch}"))
                train_epoch(model, batches, optimiser, lambda batch: batch_loss(model, batch, None, 0.0))
        gains = membership.of_users(before - membership.position_losses(model, histories))
        asked = np.concatenate([ids, np.flatnonzero(~member)])
        found = self._membership(USER, UPLOADS, "loss of an overfitted model", gains[asked], member[asked])
        return replace(found, control="must be caught")

    def _plain_table(self) -> Finding:
        """One round of plain averaging of item tables over all catalogues: rows that moved are what is sold here."""
        market = self.replay.nodes[self.name].prepare(self.recipe)
        union = sorted({key for other in self.everyone.values() for key in other.items})
        place = {key: index for index, key in enumerate(union)}
        rows = torch.tensor([place[key] for key in market.items])
        nothing = torch.zeros(len(rows), 0, dtype=torch.int64)
        plain = self.recipe.model_copy(
            update={"training": self.recipe.training.model_copy(update={"weight_decay": 0.0, "proximal": 0.0})}
        )
        semantics = make_semantics(plain, plain.semantics.kind)
        vectors = semantics.finish(np.zeros((len(rows), semantics.dimension)), market.items)
        trainer = SequentialTrainer(plain, market, vectors, ItemCodes(rows[:, None], (len(union),), nothing, ()))
        table = "adaptor.levels.0.weight"
        before = trainer.model.shared_state()[table].numpy()
        trainer.pretrain_round(1)
        after = trainer.model.shared_state()[table].numpy()
        (line,) = ledger_entries(Payload({table: after}, base={table: before}), Origin(self.name, 1, PRETRAIN))
        truth = np.zeros(len(union) + 1, bool)
        truth[rows.numpy()] = True
        guess = np.zeros(len(union) + 1)
        for name, other in self.everyone.items():
            if name != self.name:
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
            self.name,
            TABLE,
            UPLOADS,
            "rows of a table that moved",
            figures,
            "plain averaging of item tables: must be caught",
        )

    def _membership(self, attack: str, observer: str, by: str, scores: Floats, member: NDArray[np.bool_]) -> Finding:
        found = separation(scores, member)
        figures = {"auc": found.auc, "tpr at 1% fpr": found.tpr, "members": found.members, "others": found.others}
        if self.recipe.privacy.on and attack == USER:
            figures["epsilon at least"] = epsilon_at_least(scores, member, self.recipe.privacy.delta)
        return Finding(self.name, attack, observer, by, {name: float(value) for name, value in figures.items()})

    def _ranked(self, attack: str, observer: str, by: str, scores: Floats, truth: NDArray[np.bool_]) -> Finding:
        figures = {}
        for name, found in (("", scores), (" by popularity", self.elsewhere)):
            figures[f"auc{name}"] = separation(found, truth).auc if not truth.all() else 0.5
            figures[f"precision@50{name}"] = precision_at(found, truth, 50)
        return Finding(self.name, attack, observer, by, figures)
