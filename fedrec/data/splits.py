"""One market under one protocol: train, validation and test.

``temporal``: repeated (user, item) pairs are dropped (the first row is kept), rows are sorted by time with a stable
sort, so ties keep the source's order. ``family``: the same, with items then replaced by their family and a user's first
interaction per family kept. ``global-time``: the same rows (families where the store has a map), cut at one date.
``acmr`` (legacy): repeats kept, random leave-one-out, 99 sampled negatives from the union of all catalogues. What is
held out of the rows: :mod:`fedrec.data.protocols`; what each protocol is for: ``docs/protocols.md``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedrec.data import protocols
from fedrec.data.columns import Columns
from fedrec.data.protocols import TEST, TRAIN, VALIDATION, Rows
from fedrec.data.sequences import Sequences
from fedrec.data.store import MarketStore
from fedrec.errors import UserError
from fedrec.recipe import EvaluationSettings
from fedrec.seeds import numpy_generator

NEGATIVES = 99  # of protocol acmr


@dataclass(frozen=True)
class Holdout:
    """What is known at one stage, and what is to be found there.

    A user may have several targets (a basket). With ``candidates``, targets are ranked among those only and the history
    is not excluded; without, among the whole catalogue minus the history.
    """

    users: NDArray[np.int64]  # [U] indices into Split.users
    histories: Sequences  # U histories
    rows: NDArray[np.int64]  # [T] whose target, ascending, every one of U at least once
    targets: NDArray[np.int64]  # [T] items
    known: Sequences  # everything that may be counted at this stage (popularity, trends)
    candidates: NDArray[np.int64] | None = None  # [U, C] sampled negatives

    def __len__(self) -> int:
        return len(self.users)

    def targets_of(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Targets of a sorted selection of the U users: (position within the selection, item)."""
        position = np.full(len(self), -1)
        position[users] = np.arange(len(users))
        chosen = position[self.rows] >= 0
        return position[self.rows[chosen]], self.targets[chosen]


@dataclass(frozen=True)
class MarketRows:
    """One market's rows under a protocol, users and items numbered in the order of their keys."""

    users: list[str]  # private
    items: list[str]
    rows: Rows  # an item outside ``items`` (first met after the cut of global-time) is number len(items)
    values: NDArray[np.float64]  # [N]


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
    vocabulary: Sequence[str] | None = None,
    user_share: float = 1.0,
) -> Split:
    """Split one market.

    Args:
        store: the market.
        settings: protocol and holdout; ``auto`` must be resolved.
        seed: decides random ties, the random holdout and negatives of ``acmr``, and which users ``user_share`` keeps.
        vocabulary: the catalogue to rank, a superset of the market's own items; default: its own items.
        user_share: share of the users known so far. The others train nothing and choose nothing; they are tested,
            with their histories as input, as those who come next.

    Raises :class:`UserError` when no user is left, the family map is missing, or keys of the recipe contradict.
    """
    market = read_rows(store, settings, seed, vocabulary)
    rows = market.rows
    cut = _cut(settings) if settings.protocol == "global-time" else None
    labels = _label(rows, settings, cut, numpy_generator(seed, store.name, "holdout"))
    member = members(store, len(market.users), seed, user_share)
    split = _assemble(rows, labels, member, market.users, market.items)
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
    return f"no user has {protocols.LEAST_HISTORY} {_STEP[settings.holdout]} under protocol {settings.protocol!r}"


def read_rows(
    store: MarketStore, settings: EvaluationSettings, seed: int, vocabulary: Sequence[str] | None = None
) -> MarketRows:
    """The rows a protocol keeps, by user, each user's oldest first; arguments as in :func:`split_market`."""
    frame = _clean(store, settings, seed)
    own = _catalogue(frame, settings)[Columns.ITEM].unique().sort()
    items = own if vocabulary is None else pl.Series(sorted(vocabulary))
    users = frame[Columns.USER].unique().sort()
    row = users.search_sorted(frame[Columns.USER]).to_numpy()
    order = np.argsort(row, kind="stable")
    index = dict(zip(items, range(len(items)), strict=True))
    rows = Rows(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(users)))]).astype(np.int64),
        items=np.array([index.get(item, len(items)) for item in frame[Columns.ITEM]], np.int64)[order],
        times=frame[Columns.TIMESTAMP].to_numpy()[order],
    )
    return MarketRows(users.to_list(), items.to_list(), rows, frame[Columns.VALUE].to_numpy()[order])


def members(store: MarketStore, users: int, seed: int, user_share: float) -> NDArray[np.bool_]:
    """Which of the users are known so far, [U]."""
    return numpy_generator(seed, store.name, "members").random(users) < user_share


def own_items(store: MarketStore, settings: EvaluationSettings, seed: int = 0) -> list[str]:
    """Sorted keys of the market's own catalogue under a protocol."""
    return sorted(_catalogue(_clean(store, settings, seed), settings)[Columns.ITEM].unique())


def union_items(stores: Iterable[MarketStore], settings: EvaluationSettings, seed: int = 0) -> list[str]:
    """Sorted keys of all catalogues together: what a coordinator makes of the markets' own."""
    return sorted({item for store in stores for item in own_items(store, settings, seed)})


def user_history(
    store: MarketStore, settings: EvaluationSettings, user: str, seed: int = 0
) -> tuple[list[str], list[int]]:
    """All items of one user under a protocol, oldest first, with their times; empty for an unknown user."""
    rows = _clean(store, settings, seed).filter(pl.col(Columns.USER) == user)
    rows = rows.unique(Columns.ITEM, keep="last", maintain_order=True)
    return rows[Columns.ITEM].to_list(), rows[Columns.TIMESTAMP].to_list()


_STEP = {"item": "items", "untied": "items", "basket": "baskets"}
_HOLDOUTS = {
    "item": protocols.last_items,
    "untied": protocols.last_untied_items,
    "basket": protocols.last_baskets,
}


def _clean(store: MarketStore, settings: EvaluationSettings, seed: int) -> pl.DataFrame:
    """User, item, time of the market's rows, oldest first."""
    frame = store.interactions.select(Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.VALUE)
    pair = [Columns.USER, Columns.ITEM]
    if settings.protocol != "acmr":
        frame = frame.unique(pair, keep="first", maintain_order=True)
    if settings.ties == "random":
        order = numpy_generator(seed, store.name, "ties").permutation(frame.height)
        frame = frame[order]
    frame = frame.sort(Columns.TIMESTAMP, maintain_order=True)
    if settings.protocol == "family" and store.families is None:
        raise UserError(
            f"{store.path}: protocol 'family' needs families.csv; run `fedrec data families "
            f"{store.path.parent}` or set evaluation.protocol=temporal"
        )
    if settings.protocol in {"family", "global-time", "ctr"} and store.families is not None:
        families = pl.DataFrame(
            {Columns.ITEM: list(store.families), Columns.FAMILY: list(store.families.values())},
            schema={Columns.ITEM: pl.String, Columns.FAMILY: pl.String},
        )
        frame = frame.join(families, on=Columns.ITEM, how="left", maintain_order="left").with_columns(
            pl.coalesce(Columns.FAMILY, Columns.ITEM).alias(Columns.ITEM)
        )
        frame = frame.unique(pair, keep="first", maintain_order=True)
    return frame


def _catalogue(frame: pl.DataFrame, settings: EvaluationSettings) -> pl.DataFrame:
    """The rows whose items the market may recommend."""
    if settings.protocol != "global-time":
        return frame
    return frame.filter(pl.col(Columns.TIMESTAMP) < _cut(settings))


def _label(
    rows: Rows, settings: EvaluationSettings, cut: int | None, generator: np.random.Generator
) -> protocols.Labels:
    if cut is not None:
        return protocols.before_and_after(rows, cut)
    if settings.protocol == "acmr":
        return protocols.leave_one_out_at_random(rows, generator)
    return _HOLDOUTS[settings.holdout](rows)


def _cut(settings: EvaluationSettings) -> int:
    if settings.cut_date is None:
        raise UserError("evaluation.cut_date: protocol global-time needs a date; `fedrec data describe DIR` shows some")
    return int(datetime.combine(settings.cut_date, datetime.min.time(), UTC).timestamp())


def _assemble(
    rows: Rows, labels: protocols.Labels, member: NDArray[np.bool_], users: list[str], items: list[str]
) -> Split:
    belongs = member[rows.users]

    def sequences(mask: NDArray[np.bool_], chosen: NDArray[np.int64]) -> Sequences:
        counts = np.bincount(rows.users[mask], minlength=len(users))
        everyone = Sequences(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows.items[mask], rows.times[mask], len(items)
        )
        return everyone.take(chosen)

    def holdout(target: int, known: tuple[int, ...], among: NDArray[np.bool_]) -> Holdout:
        before = np.isin(labels, known)
        found = (labels == target) & among
        chosen = np.unique(rows.users[found])
        counted = np.flatnonzero(np.bincount(rows.users[before & belongs], minlength=len(users)))
        return Holdout(
            users=chosen,
            histories=sequences(before, chosen),
            rows=np.searchsorted(chosen, rows.users[found]),
            targets=rows.items[found],
            known=sequences(before & belongs, counted),
        )

    learned = (labels == TRAIN) & belongs
    learners = np.unique(rows.users[learned])
    return Split(
        users=users,
        items=items,
        train=sequences(learned, learners),
        learners=learners,
        validation=holdout(VALIDATION, (TRAIN,), belongs),
        test=holdout(TEST, (TRAIN, VALIDATION), np.ones(len(labels), dtype=bool)),
    )


def _with_negatives(holdout: Holdout, rows: Rows, generator: np.random.Generator) -> Holdout:
    """Add ``NEGATIVES`` distinct items per user that the user never met."""
    items = holdout.histories.item_count
    sampled = np.empty((len(holdout), NEGATIVES), dtype=np.int64)
    for row, user in enumerate(holdout.users):
        met = np.unique(rows.items[rows.offsets[user] : rows.offsets[user + 1]])
        if items - len(met) < NEGATIVES:
            raise UserError(
                f"evaluation.protocol acmr: needs {NEGATIVES} items that a user never met; the catalogue has {items}"
            )
        # Position among the unmet items, shifted past the met ones that lie before it.
        drawn = generator.choice(items - len(met), size=NEGATIVES, replace=False)
        sampled[row] = drawn + np.searchsorted(met - np.arange(len(met)), drawn, side="right")
    return Holdout(holdout.users, holdout.histories, holdout.rows, holdout.targets, holdout.known, sampled)
