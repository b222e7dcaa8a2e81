"""One market for click-through prediction: what trains the collaborative vectors, and labelled instances after it.

Variants of a product are one item where the store has a family map, and a user's first interaction with it is kept;
which rows train, choose and test: :func:`fedrec.data.protocols.days_apart`. An instance is a (user, item, label) with
the user's history of earlier days. Labels come from ratings (``ratings``: at least ``ctr.positive`` or less), or every
interaction is a positive and negatives are drawn beside it (``sampled``). Negatives are items that sell, so a positive
that nobody is known to have bought would be given away by that alone: such a row makes no instance, unless
``evaluation.catalogue`` is ``all``. Which share of the test rows it is: ``outside``. A negative of learning may be an
item that its user meets later: were it left out, what is never a negative would tell what is asked in the test. A user
who has every item that sells makes no instance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.draws import UserDraws
from fedrec.data.market_rows import declared_items, read_rows
from fedrec.data.protocols import LEARN, TEST, TRAIN, VALIDATION, days_apart, days_begin
from fedrec.data.sequences import Sequences
from fedrec.data.splits import members
from fedrec.data.store import MarketStore
from fedrec.errors import UserError
from fedrec.recipe import CtrSettings, EvaluationSettings
from fedrec.seeds import numpy_generator


@dataclass(frozen=True)
class Instances:
    """N labelled pairs of user and item."""

    users: NDArray[np.int64]  # [N] indices into CtrSplit.users
    items: NDArray[np.int64]  # [N]
    labels: NDArray[np.float32]  # [N] zero or one
    ends: NDArray[np.int64]  # [N] where the user's history ends in ``CtrSplit.rows``: all of earlier days

    def __len__(self) -> int:
        return len(self.users)

    def take(self, chosen: NDArray[np.int64]) -> "Instances":
        """Some of them, in the order given."""
        return Instances(self.users[chosen], self.items[chosen], self.labels[chosen], self.ends[chosen])

    def batches(self, size: int, generator: np.random.Generator | None = None) -> Iterator["Instances"]:
        """All of them in pieces: shuffled with a ``generator``, else as they are."""
        order = np.arange(len(self)) if generator is None else generator.permutation(len(self))
        for start in range(0, len(self), size):
            yield self.take(order[start : start + size])


@dataclass(frozen=True)
class CtrSplit:
    """One market: rows for the collaborative vectors, and instances to learn from, choose by and be tested on."""

    users: list[str]  # private
    items: list[str]  # [I], sorted keys
    collaborative: Sequences  # U histories; a user or an item may have none
    rows: Sequences  # everything of every user
    learn: Instances
    validation: Instances
    test: Instances
    outside: float = 0.0  # share of the test rows that make no instance: nobody is known to have bought the item

    def histories(self, instances: Instances, longest: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The last ``longest`` items before each instance, right-aligned, and which places hold one; both [N, L]."""
        place = np.arange(-longest, 0) + instances.ends[:, None]  # [N, L]
        valid = place >= self.rows.offsets[instances.users][:, None]
        return np.where(valid, self.rows.items[np.maximum(place, 0)], 0), valid


def split_ctr(
    store: MarketStore,
    settings: EvaluationSettings,
    ctr: CtrSettings,
    user_share: float = 1.0,
    seed: int = 0,
    draws: UserDraws | None = None,
) -> CtrSplit:
    """Split one market; users outside ``user_share`` train nothing, choose nothing, and are tested.

    ``seed`` draws negatives. It is not the recipe's: runs of all seeds are tested on the same instances. ``draws``
    decide who is known so far; default: those of the seed.

    Raises :class:`UserError` when a part is empty, or ratings are of one kind only.
    """
    draws = draws or UserDraws.of_seed(seed, store.name)
    market = read_rows(store, settings, draws)
    if settings.catalogue == "declared":
        market = market.renumbered(declared_items(store, settings))
    rows = market.rows
    labels = days_apart(rows)
    member = members(market.users, draws, user_share)[rows.users]
    everything = Sequences(rows.offsets, rows.items, rows.times, len(market.items))
    day_starts = np.maximum.accumulate(np.where(days_begin(rows), np.arange(len(rows.items)), 0))
    maker = _InstanceMaker(everything, day_starts, market.values, ctr, store.name, seed)
    known = np.isin(labels, (TRAIN, LEARN)) & member
    popularity = np.bincount(rows.items[known], minlength=len(market.items)).astype(np.float64)
    usable = np.ones(len(labels), dtype=bool)
    if ctr.task == "sampled" and settings.catalogue != "all":
        usable = popularity[rows.items] > 0
    parts = {
        name: maker.make(
            np.flatnonzero((labels == label) & among & usable), np.isin(labels, interacted), popularity, name
        )
        for name, label, interacted, among in (
            ("learn", LEARN, (TRAIN, LEARN), member),
            ("validation", VALIDATION, (TRAIN, LEARN, VALIDATION), member),
            ("test", TEST, (TRAIN, LEARN, VALIDATION, TEST), np.ones_like(member)),
        )
    }
    for name, part in parts.items():
        if len(np.unique(part.labels)) < 2:
            what = "instances of both kinds" if len(part) else "user with enough days and an item that they do not have"
            remedy = "set ctr.task=sampled, or " if ctr.task == "ratings" and len(part) else ""
            raise UserError(f"{store.path}: no {what} for {name}; {remedy}leave this market out with data.markets")
    collaborative = (labels == TRAIN) & member
    counts = np.bincount(rows.users[collaborative], minlength=len(market.users))
    return CtrSplit(
        users=market.users,
        items=market.items,
        collaborative=Sequences(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            rows.items[collaborative],
            rows.times[collaborative],
            len(market.items),
        ),
        rows=everything,
        **parts,
        outside=float(1 - usable[labels == TEST].mean()),
    )


@dataclass(frozen=True)
class _InstanceMaker:
    rows: Sequences
    day_starts: NDArray[np.int64]  # [N] the first row of each row's day
    values: NDArray[np.float64]
    ctr: CtrSettings
    market: str
    seed: int

    def make(
        self, chosen: NDArray[np.int64], interacted: NDArray[np.bool_], popularity: NDArray[np.float64], part: str
    ) -> Instances:
        """Instances of the rows ``chosen``; ``interacted``: the rows whose items are no negatives of their user."""
        rows = self.rows
        users, items = rows.users[chosen], rows.items[chosen]
        ends = self.day_starts[chosen]
        if self.ctr.task == "ratings":
            return Instances(users, items, (self.values[chosen] >= self.ctr.positive).astype(np.float32), ends)
        generator = numpy_generator(self.seed, self.market, "negatives", part)
        drawn = self._negatives(users, interacted, popularity, generator)  # [N, negatives]
        some = drawn[:, 0] >= 0
        users, items, ends, drawn = users[some], items[some], ends[some], drawn[some]
        repeats = self.ctr.negatives + 1
        return Instances(
            np.repeat(users, repeats),
            np.column_stack([items, drawn]).ravel(),
            np.tile(np.r_[1, np.zeros(self.ctr.negatives)], len(users)).astype(np.float32),
            np.repeat(ends, repeats),
        )

    def _negatives(
        self,
        users: NDArray[np.int64],
        interacted: NDArray[np.bool_],
        popularity: NDArray[np.float64],
        generator: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Items that the user has not interacted with, drawn by popularity with replacement, [N, negatives].

        -1 for who has everything: one such user must not keep a market from answering, least of all under privacy.
        """
        drawn = np.full((len(users), self.ctr.negatives), -1, dtype=np.int64)
        for row, user in enumerate(users):
            weights = popularity.copy()
            own = slice(self.rows.offsets[user], self.rows.offsets[user + 1])
            weights[self.rows.items[own][interacted[own]]] = 0
            total = weights.sum()
            if total:
                drawn[row] = generator.choice(len(weights), size=self.ctr.negatives, p=weights / total)
        return drawn
