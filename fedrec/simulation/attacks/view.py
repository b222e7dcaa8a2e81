"""One market of a replayed run as attacks see it: who is asked about, and what each observer holds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedrec.attacks.observation import Arrays, Observation, ObserverName
from fedrec.attacks.scores import epsilon_at_least, precision_at, separation
from fedrec.clients.methods import make_sequential_trainer
from fedrec.components.algorithm import algorithm_of
from fedrec.components.attack import Finding, Observed
from fedrec.data.draws import UserDraws
from fedrec.data.sequences import Sequences
from fedrec.data.splits import members
from fedrec.models.sequential import SequentialModel
from fedrec.recipe import Recipe
from fedrec.seeds import numpy_generator
from fedrec.simulation.replay import Replay
from fedrec.training.prepared import PreparedMarket
from fedrec.training.ranker.trainer import RankerTrainer

USER, INTERACTION = "membership of a user", "membership of an interaction"
ITEM_SET, TABLE = "best sellers", "catalogue"
CODES, SEQUENCE, KNOWN_ITEM = "items behind codes", "items of a user", "one known item"
_SUBJECTS = 400  # of a market at most, those who took part and those who did not
_ROUNDS = 10  # of a run, evenly spread, that are attacked one by one
Floats = NDArray[np.float64]


class TooFewError(Exception):
    """A market without people of both kinds."""


@dataclass(frozen=True)
class MarketView:
    """What an attack is handed."""

    replay: Replay
    name: str
    everyone: dict[str, PreparedMarket]
    smallest: bool  # the market in which dear controls are made

    @property
    def observed(self) -> frozenset[Observed]:
        """What of this run there is to look at."""
        seen, found = self.observation, set()
        if seen.of("pretrain"):
            ranks = issubclass(algorithm_of(self.recipe).trainer(), RankerTrainer)
            found.add(Observed.RANKER if ranks else Observed.ROUNDS)
        if seen.statistics:
            found.add(Observed.STATISTICS)
        if seen.pairs:
            found.add(Observed.PAIRS)
        if seen.of("codebook") and self.replay.recipe.alignment != "none":
            found.add(Observed.CODES)
        return frozenset(found)

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
        ids = np.arange(len(market.train)) if clicks else market.owners
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


def membership_finding(
    view: MarketView, attack: str, observer: str, by: str, scores: Floats, member: NDArray[np.bool_]
) -> Finding:
    """How well those who took part are told from others by ``scores``."""
    found = separation(scores, member)
    figures = {"auc": found.auc, "tpr at 1% fpr": found.tpr, "members": found.members, "others": found.others}
    if view.recipe.privacy.on and attack == USER:
        figures["epsilon at least"] = epsilon_at_least(scores, member, view.recipe.privacy.delta)
    return Finding(view.name, attack, observer, by, {name: float(value) for name, value in figures.items()})


def ranked_finding(
    view: MarketView, attack: str, observer: str, by: str, scores: Floats, truth: NDArray[np.bool_]
) -> Finding:
    """How well items are told apart by ``scores`` [I], beside what popularity elsewhere would guess."""
    figures = {}
    for name, found in (("", scores), (" by popularity", view.elsewhere)):
        figures[f"auc{name}"] = separation(found, truth).auc if not truth.all() else 0.5
        figures[f"precision@50{name}"] = precision_at(found, truth, 50)
    return Finding(view.name, attack, observer, by, figures)
