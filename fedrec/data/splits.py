"""One market under one protocol: train, validation and test.

``temporal``: rows are sorted by time with a stable sort, so ties keep the source's order; of repeated (user, item)
pairs the earliest is kept. ``family``: the same, with items then replaced by their family and a user's first
interaction per family kept. ``global-time``: the same rows (families where the store has a map), cut at one date.
``acmr`` (legacy): repeats kept, random leave-one-out, 99 sampled negatives from the union of all catalogues. What is
held out of the rows: :mod:`fedrec.data.protocols`; what is ranked: :mod:`fedrec.data.catalogue`; what each protocol is
for: ``docs/protocols.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedrec.data import protocols
from fedrec.data.catalogue import Vocabulary, known_items
from fedrec.data.draws import UserDraws
from fedrec.data.market_rows import MarketRows, label_rows, read_rows
from fedrec.data.protocols import TEST, TRAIN, VALIDATION, Rows
from fedrec.data.sequences import Sequences
from fedrec.data.store import MarketStore
from fedrec.errors import UserError
from fedrec.recipe import EvaluationSettings
from fedrec.seeds import numpy_generator

NEGATIVES = 99  # of protocol acmr
OUTSIDE = -1  # a target that the catalogue does not hold


@dataclass(frozen=True)
class Holdout:
    """What is known at one stage, and what is to be found there.

    A user may have several targets (a basket). With ``candidates``, targets are ranked among those only and the history
    is not excluded; without, among the ``catalogue`` minus the history. A target that the catalogue does not hold is
    ``OUTSIDE``: nobody can rank it, so it is a miss for every method.
    """

    users: NDArray[np.int64]  # [U] indices into Split.users
    histories: Sequences  # U histories
    rows: NDArray[np.int64]  # [T] whose target, ascending, every one of U at least once
    targets: NDArray[np.int64]  # [T] items, or OUTSIDE
    known: Sequences  # everything that may be counted at this stage (popularity, trends)
    candidates: NDArray[np.int64] | None = None  # [U, C] sampled negatives
    catalogue: NDArray[np.bool_] | None = None  # [I] which items are ranked; None: all

    def __len__(self) -> int:
        return len(self.users)

    @property
    def outside(self) -> float:
        """Share of the targets that the catalogue does not hold."""
        return float((self.targets == OUTSIDE).mean()) if len(self.targets) else 0.0

    def reachable(self) -> "Holdout":
        """The same with the targets of the catalogue alone, and the users who have one: what can be learned from."""
        inside = self.targets != OUTSIDE
        if inside.all():
            return self
        chosen = np.unique(self.rows[inside])
        return replace(
            self,
            users=self.users[chosen],
            histories=self.histories.take(chosen),
            rows=np.searchsorted(chosen, self.rows[inside]),
            targets=self.targets[inside],
            candidates=None if self.candidates is None else self.candidates[chosen],
        )

    def targets_of(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Targets of a sorted selection of the U users: (position within the selection, item)."""
        position = np.full(len(self), -1)
        position[users] = np.arange(len(users))
        chosen = position[self.rows] >= 0
        return position[self.rows[chosen]], self.targets[chosen]


@dataclass(frozen=True)
class Split:
    """One market under one protocol. The catalogue holds every item that the market may recommend."""

    users: list[str]  # private
    items: list[str]  # [I], sorted keys
    train: Sequences
    learners: NDArray[np.int64]  # which user each history of ``train`` is of
    validation: Holdout
    test: Holdout


def split_market(
    store: MarketStore,
    settings: EvaluationSettings,
    seed: int = 0,
    vocabulary: Vocabulary | None = None,
    user_share: float = 1.0,
    draws: UserDraws | None = None,
) -> Split:
    """Split one market.

    Args:
        store: the market.
        settings: protocol, holdout and catalogue; ``auto`` must be resolved.
        seed: decides the random holdout and negatives of ``acmr``.
        vocabulary: of the federation, where its union is ranked; default: the market's own catalogue.
        user_share: share of the users known so far. The others train nothing and choose nothing; they are tested,
            with their histories as input, as those who come next.
        draws: decide random ties and which users ``user_share`` keeps; default: those of the seed.

    Raises :class:`UserError` when no user is left, the family map is missing, or keys of the recipe contradict.
    """
    draws = draws or UserDraws.of_seed(seed, store.name)
    market = read_rows(store, settings, draws)
    labels = label_rows(store.name, market.rows, settings, seed)
    known = vocabulary or known_items(store, market, labels, settings)
    market = market.renumbered(known.items)
    rows = market.rows
    member = members(market.users, draws, user_share)
    learned, tested = (
        None if part is None or len(part) == len(known.items) else np.isin(known.items, part)
        for part in (known.learned, known.tested)
    )
    split = _assemble(market, labels, member, learned, tested)
    if not len(split.train) or not len(split.validation) or not len(split.test):
        raise UserError(f"{store.path}: {_why_empty(settings, user_share)}; leave this market out with data.markets")
    if settings.protocol == "acmr":
        generator = numpy_generator(seed, store.name, "negatives")
        validation = _with_negatives(split.validation, rows, generator)
        return replace(split, validation=validation, test=_with_negatives(split.test, rows, generator))
    return split


def _why_empty(settings: EvaluationSettings, user_share: float) -> str:
    if user_share < 1:
        return f"data.user_share {user_share:g} leaves nobody to train, choose and test on; raise it"
    if settings.protocol == "global-time":
        return f"evaluation.cut_date {settings.cut_date} leaves nothing before it, or nobody after it; change it"
    return f"no user has {protocols.MIN_HISTORY} {_STEP[settings.holdout]} under protocol {settings.protocol!r}"


def members(users: Sequence[str], draws: UserDraws, user_share: float) -> NDArray[np.bool_]:
    """Which of the users are known so far, [U]; a larger share contains the smaller."""
    return draws.chances(users, "members") < user_share


_STEP = {"item": "items", "untied": "items", "basket": "baskets"}


def _assemble(
    market: MarketRows,
    labels: protocols.Labels,
    member: NDArray[np.bool_],
    learned: NDArray[np.bool_] | None,
    tested: NDArray[np.bool_] | None,
) -> Split:
    """``learned``, ``tested`` [I]: what is ranked at validation and at the test, where that is not all."""
    rows, users, items = market.rows, market.users, market.items
    belongs = member[rows.users]

    def sequences(mask: NDArray[np.bool_], chosen: NDArray[np.int64]) -> Sequences:
        counts = np.bincount(rows.users[mask], minlength=len(users))
        everyone = Sequences(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows.items[mask], rows.times[mask], len(items)
        )
        return everyone.take(chosen)

    def holdout(
        target: int, known: tuple[int, ...], among: NDArray[np.bool_], catalogue: NDArray[np.bool_] | None
    ) -> Holdout:
        before = np.isin(labels, known)
        found = (labels == target) & among
        chosen = np.unique(rows.users[found])
        ranked = np.append(np.ones(len(items), dtype=bool) if catalogue is None else catalogue, False)
        counted = np.flatnonzero(np.bincount(rows.users[before & belongs], minlength=len(users)))
        return Holdout(
            users=chosen,
            histories=sequences(before, chosen),
            rows=np.searchsorted(chosen, rows.users[found]),
            targets=np.where(ranked[rows.items[found]], rows.items[found], OUTSIDE),
            known=sequences(before & belongs, counted),
            catalogue=catalogue,
        )

    trained = (labels == TRAIN) & belongs
    learners = np.unique(rows.users[trained])
    return Split(
        users=users,
        items=items,
        train=sequences(trained, learners),
        learners=learners,
        validation=holdout(VALIDATION, (TRAIN,), belongs, learned),
        test=holdout(TEST, (TRAIN, VALIDATION), np.ones(len(labels), dtype=bool), tested),
    )


def _with_negatives(holdout: Holdout, rows: Rows, generator: np.random.Generator) -> Holdout:
    """Add ``NEGATIVES`` distinct items per user that the user never interacted with."""
    items = holdout.histories.item_count
    sampled = np.empty((len(holdout), NEGATIVES), dtype=np.int64)
    for row, user in enumerate(holdout.users):
        interacted = np.unique(rows.items[rows.offsets[user] : rows.offsets[user + 1]])
        if items - len(interacted) < NEGATIVES:
            raise UserError(
                f"evaluation.protocol acmr: needs {NEGATIVES} items that a user never interacted with; "
                f"the catalogue has {items}"
            )
        # Position among the other items, shifted past those that lie before it.
        drawn = generator.choice(items - len(interacted), size=NEGATIVES, replace=False)
        sampled[row] = drawn + np.searchsorted(interacted - np.arange(len(interacted)), drawn, side="right")
    return replace(holdout, candidates=sampled)
