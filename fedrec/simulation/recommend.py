"""``fedrec recommend``: what a finished run would show one person next, on the machine that holds the market's data."""

import csv
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedrec.clients.methods import finished_methods
from fedrec.clients.node import MarketNode
from fedrec.clients.seal import check_seal
from fedrec.components.algorithm import Need
from fedrec.data.columns import Columns
from fedrec.data.draws import UserDraws
from fedrec.data.market_rows import WITH_FAMILIES, all_histories, user_history
from fedrec.data.sequences import Sequences
from fedrec.data.splits import Holdout, Split
from fedrec.data.store import open_store, open_stores
from fedrec.errors import UserError
from fedrec.files import market_name, read_json, reading
from fedrec.recipe import Recipe, load_recipe, override_recipe, parse_recipe
from fedrec.runs.folder import RunFolder
from fedrec.runs.manifest import refuse_changed, refuse_deployed
from fedrec.threads import single_threaded
from fedrec.training.evaluation import excluded, user_blocks
from fedrec.training.prepared import PreparedMarket, item_texts

PREFERENCE = (
    "federated", "fedease", "pooled", "local", "local_shared_semantics", "local_shared_statistics", "ease", "itemknn",
    "popularity",
)  # fmt: skip

_NAMES = {"users": "user ids", "items": "item keys"}


@dataclass(frozen=True)
class Recommendation:
    """One item, best first."""

    item: str
    text: str  # title, brand and category where known
    score: float
    bought: int  # train interactions in this market; 0: nobody here has had it, other knowledge speaks


@dataclass(frozen=True)
class Recommended:
    """A list for one person, by which method, and what is worth saying about it."""

    method: str
    items: list[Recommendation]
    notes: list[str]


class Recommender:
    """One market's finished methods, ready to recommend: what is read and fitted once serves every question."""

    def __init__(self, node: MarketNode, recipe: Recipe) -> None:
        self.market = node.store.name
        self._recipe = recipe
        with single_threaded():
            self._prepared = node.prepare(recipe)
            self._methods = finished_methods(node, recipe)
        weights = read_json(node.mixing)
        with reading(node.mixing):
            self._weights = {name: np.array(values, np.float64) for name, values in weights.items()}
            for name, count in self._methods.views.items():
                if self._weights[name].shape != (count,):
                    raise ValueError(f"{name} has {len(self._weights[name])} weights, not {count}")

    @classmethod
    def open(cls, path: Path | str, market: str, data: Path | str | None = None) -> "Recommender":
        """Of a market of a finished run.

        ``path`` is a run's folder, or on a market's own host the folder of the run in the market's private state; there
        ``data`` is the market's store. Raises :class:`UserError` for anything unknown, and for data that are not what
        the run was trained on.
        """
        folder = Path(path)
        return cls(*(_open(folder, market) if data is None else _open_private(folder, market, Path(data))))

    def read_history(self, values: Sequence[str]) -> list[str]:
        """Item keys as a person writes them: a value is an item, or several with commas between, as in a CSV line.

        A value that is an item of the market as it stands is that item, commas and all.
        """
        store = self._prepared.store
        known = {*store.catalogue["item_id"], *(store.families or {}).values()}
        keys: list[str] = []
        for value in values:
            if unicodedata.normalize("NFC", value) in known:
                keys.append(value)
                continue
            try:
                row = next(csv.reader([value], skipinitialspace=True, strict=True), [])
            except csv.Error:
                raise UserError(f"--history {value!r}: a quote is opened and not closed; close it") from None
            keys += [key.strip() for key in row if key.strip()]
        return keys

    def recommend(
        self, history: Sequence[str] = (), k: int = 10, *, user: str | None = None, method: str | None = None
    ) -> Recommended:
        """The ``k`` items after a history: item keys, oldest first, taken as of today, the market's last moment.

        In place of a history, ``user`` names a person, whose own it is (all interactions in the store). What the person
        had is not recommended. Without ``method``, the first there of federated, fedease, pooled, local, ...
        """
        if isinstance(history, str):
            raise UserError(f"history {history!r}: a list of item keys, not a text")
        if (user is None) == (not history):
            raise UserError("recommend: name a person with --user, or give --history or --history-file (one of them)")
        if k < 1:
            raise UserError(f"-k {k}: ask for one item at least")
        prepared = self._prepared
        with single_threaded():
            keys, times = _history(prepared, user, history)
            holdout, notes = _situation(prepared, user, keys, times)
            scorers = self._methods.scorers(holdout, self._weights)
            chosen = _choose(method, list(scorers))
            if not len(holdout.histories.items):
                chosen = "popularity"
                notes.append("no known item in the history: these are the market's most popular items")
            users = np.array([0])
            scorer = scorers.get(chosen) or (lambda _: prepared.test.known.item_counts()[None].astype(np.float64))
            scores = np.where(excluded(holdout, users) | ~prepared.sold, -np.inf, scorer(users))[0]
        best = [int(item) for item in np.argsort(-scores, kind="stable")[:k] if scores[item] > -np.inf]
        bought = prepared.train.item_counts()
        texts = item_texts(prepared.store, [prepared.split.items[item] for item in best])
        items = [
            Recommendation(prepared.split.items[item], text, float(scores[item]), int(bought[item]))
            for item, text in zip(best, texts, strict=True)
        ]
        return Recommended(chosen, items, notes)

    def recommend_all(
        self,
        users: Sequence[str] | None = None,
        k: int = 10,
        *,
        method: str | None = None,
        items: Collection[str] | None = None,
    ) -> pl.DataFrame:
        """The ``k`` best items of many users: columns user, rank (from 1), item, score; users as they are named.

        Each has what :meth:`recommend` has for that user. Without ``users``, everybody of the market's store who has an
        item that the run knows.
        ``items``: keys of what may be recommended, such as what is in stock; None: all that the market sells. Raises
        :class:`UserError` for a user or an item that is not there.
        """
        if k < 1:
            raise UserError(f"k {k}: ask for one item at least")
        prepared = self._prepared
        split = prepared.split
        allowed = prepared.sold if items is None else prepared.sold & _chosen(prepared, items)
        people, holdout = _everybody(prepared, users)
        types: dict[str, Any] = {"user": pl.String, "rank": pl.Int64, "item": pl.String, "score": pl.Float64}
        found = [pl.DataFrame(schema=types)]
        if not len(people):
            return found[0]
        with single_threaded():
            scorers = self._methods.scorers(holdout, self._weights)
            scorer = scorers[_choose(method, list(scorers))]
            popular = prepared.test.known.item_counts().astype(np.float64)
            for block in user_blocks(len(people), len(split.items)):
                scores = np.asarray(scorer(block), np.float64)  # [B, I]
                scores[holdout.histories.lengths[block] == 0] = popular  # of them nothing is known
                scores[excluded(holdout, block) | ~allowed] = -np.inf
                best = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # [B, k]
                of_best = np.take_along_axis(scores, best, axis=1)
                row, rank = np.nonzero(of_best > -np.inf)
                found.append(
                    pl.DataFrame(
                        {
                            "user": people[block[row]],
                            "rank": rank + 1,
                            "item": np.array(split.items, object)[best[row, rank]],
                            "score": of_best[row, rank],
                        },
                        schema=types,
                    )
                )
        return pl.concat(found)


def _chosen(prepared: PreparedMarket, keys: Collection[str]) -> NDArray[np.bool_]:
    """Which of a market's items are among ``keys`` [I]; of a variant its family, where the protocol knows families."""
    items, store = prepared.split.items, prepared.store
    families = _families(prepared)
    wanted = {families.get(key, key) for key in _texts("items", keys)}
    unknown = sorted(wanted - set(items))
    if unknown:
        raise UserError(
            f"items: {len(unknown)} of {len(wanted)} are not sold in {store.name!r}, such as {unknown[0]!r}"
        )
    return np.array([item in wanted for item in items], bool)


def _draws(prepared: PreparedMarket) -> UserDraws:
    """What decides random ties: the market's secret under privacy, else the recipe's seed."""
    return prepared.draws or UserDraws.of_seed(prepared.recipe.seed, prepared.store.name)


def _families(prepared: PreparedMarket) -> Mapping[str, str]:
    """What stands for each item, where the protocol knows families; else nothing does."""
    mapped = prepared.recipe.evaluation.protocol in WITH_FAMILIES
    return (prepared.store.families or {}) if mapped else {}


def _texts(what: str, values: Collection[str]) -> list[str]:
    """Ids or keys as importers write them; raises :class:`UserError` for what is no list of texts."""
    if isinstance(values, str):
        raise UserError(f"{what} {values!r}: a list of {_NAMES[what]}, not a text")
    wrong = next((value for value in values if not isinstance(value, str)), None)
    if wrong is not None or None in values:
        raise UserError(f"{what}: {wrong!r} is no text; ids and keys are texts in a market's store, such as '4711'")
    return [unicodedata.normalize("NFC", value) for value in values]


def _everybody(prepared: PreparedMarket, users: Sequence[str] | None) -> tuple[NDArray[np.object_], Holdout]:
    """Ids [U], and their histories as the models see them: all that the store has of each, in the known catalogue."""
    store, split = prepared.store, prepared.split
    rows = all_histories(store, prepared.recipe.splitting, _draws(prepared))
    everyone = rows[Columns.USER].unique(maintain_order=True)
    if users is None:
        people = everyone.sort()
    else:
        people = pl.Series(_texts("users", users), dtype=pl.String)
        missing = people.filter(~people.is_in(everyone.implode()))
        if len(missing):
            raise UserError(
                f"users: {missing[0]!r} is not in market {store.name!r}, whose users have ids such as {everyone[0]!r}"
            )
    order = pl.DataFrame({Columns.USER: people, "row": np.arange(len(people))})
    position = pl.DataFrame({Columns.ITEM: split.items, "position": np.arange(len(split.items))})
    rows = rows.with_row_index("moment")  # before they are joined: that keeps no order
    known = rows.join(order, on=Columns.USER).join(position, on=Columns.ITEM).sort("row", "moment")
    lengths = np.bincount(known["row"].to_numpy(), minlength=len(people))
    histories = Sequences(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        known["position"].to_numpy().astype(np.int64),
        known[Columns.TIMESTAMP].to_numpy().astype(np.int64),
        len(split.items),
    )
    place = {user: number for number, user in enumerate(split.users)}
    learners = set(split.learners)
    persons = np.array([place[user] if user in place and place[user] in learners else -1 for user in people], np.int64)
    nobody = np.zeros(0, np.int64)
    return people.to_numpy().astype(object), Holdout(persons, histories, nobody, nobody, split.test.known)


def _open(path: Path, market: str) -> tuple[MarketNode, Recipe]:
    run = RunFolder.open(path)
    summary = run.read_summary()  # refuses a run that is not finished
    manifest = run.read_manifest()
    refuse_deployed(manifest, path)
    hashes = manifest["data"]["hashes"]
    if market not in hashes:
        raise UserError(f"--market {market!r}: not in {path}; it has {', '.join(sorted(hashes))}")
    folder = run.data if run.data.is_dir() else Path(manifest["data"]["folder"])
    (store,) = open_stores(folder, [market])
    if store.fingerprint != hashes[market]:
        raise UserError(f"{store.path}: not the data that {path} was trained on; import it again or run again")
    if summary["protocol"] == "ctr":
        raise UserError(f"{path}: predicts clicks and ranks nothing; recommend needs a run that ranks")
    node = MarketNode(store, run.markets / market)
    if not node.finished:
        raise UserError(f"--market {market!r}: its evaluation failed in {path}, nothing there to recommend with")
    recipe = _sealed(node)
    refuse_changed(path / "recipe.yaml", load_recipe(str(path / "recipe.yaml")), recipe)
    return node, _as_chosen(node, recipe)


def _open_private(path: Path, market: str, data: Path) -> tuple[MarketNode, Recipe]:
    """On a market's own host, from its private state alone."""
    store = open_store(data)
    node = MarketNode(store, path / "markets" / market_name(market, "--market"))
    if not node.finished:
        raise UserError(f"{node.folder}: no finished run of market {market!r}; name a folder in the market's state")
    if store.name != market:
        raise UserError(f"--data {data}: holds market {store.name!r}, not {market!r}")
    if read_json(node.began_with).get("fingerprint") != store.fingerprint:
        raise UserError(f"--data {data}: not the data that {path} was trained on; import it again or run again")
    recipe = _sealed(node)
    if recipe.task == "ctr":
        raise UserError(f"{path}: predicts clicks and ranks nothing; recommend needs a run that ranks")
    return node, _as_chosen(node, recipe)


def _sealed(node: MarketNode) -> Recipe:
    """The recipe that the market was evaluated with; all that this made is still there as it was."""
    recipe = parse_recipe(read_json(node.recipe), str(node.recipe))
    check_seal(node, recipe)
    return recipe


def _as_chosen(node: MarketNode, recipe: Recipe) -> Recipe:
    """With what validation chose: to choose it again costs an inverse for every value."""
    chosen = read_json(node.report)
    with reading(node.report):
        fixed = [f"{name}.lambdas=[{chosen[f'{name}.lam']}]" for name in ("ease", "fedease") if f"{name}.lam" in chosen]
        return override_recipe(recipe, {}, fixed)


def _history(prepared: PreparedMarket, user: str | None, history: Sequence[str]) -> tuple[list[str], list[int]]:
    store = prepared.store
    if user is not None:
        user = unicodedata.normalize("NFC", user)  # as importers write ids
        keys, times = user_history(store, prepared.recipe.splitting, user, _draws(prepared))
        if not keys:
            known = store.interactions[Columns.USER].min()
            raise UserError(f"--user {user!r}: not in market {store.name!r}; its users have ids such as {known!r}")
        return keys, times
    families = _families(prepared)
    history = [unicodedata.normalize("NFC", key) for key in history]
    keys = list(dict.fromkeys(families.get(key, key) for key in history))
    latest = int(store.interactions["timestamp"].max())  # type: ignore[arg-type]
    return keys, [latest] * len(keys)


def _situation(
    prepared: PreparedMarket, user: str | None, keys: list[str], times: list[int]
) -> tuple[Holdout, list[str]]:
    """One person's history as the models see it, and what had to be left out."""
    split: Split = prepared.split
    person = -1 if user is None else _learner(split, unicodedata.normalize("NFC", user))
    position = {item: index for index, item in enumerate(split.items)}
    known = [(position[key], time) for key, time in zip(keys, times, strict=True) if key in position]
    notes = []
    unknown = [key for key in keys if key not in position]
    if unknown:
        notes.append(f"not in the catalogue of {prepared.store.name!r}, left out: {', '.join(unknown)}")
    bought = prepared.train.item_counts()
    unseen = [split.items[item] for item, _ in known if bought[item] == 0]
    if unseen:
        known_by = (
            "semantics alone" if Need.ITEM_VECTORS in prepared.recipe.needs else "what other markets taught alone"
        )
        notes.append(f"not seen in training, known by {known_by}: {', '.join(unseen)}")
    histories = Sequences(
        np.array([0, len(known)]),
        np.array([item for item, _ in known], np.int64),
        np.array([time for _, time in known], np.int64),
        len(split.items),
    )
    nobody = np.zeros(0, np.int64)
    return Holdout(np.array([person]), histories, nobody, nobody, split.test.known), notes


def _learner(split: Split, user: str) -> int:
    """Where a user is among those of the split; -1 for one of whom nothing was learned."""
    place = split.users.index(user) if user in split.users else -1
    return place if place in split.learners else -1


def _choose(wanted: str | None, available: list[str]) -> str:
    if wanted is None:
        return next(name for name in PREFERENCE if name in available)
    if wanted not in available:
        raise UserError(f"--method {wanted!r}: this run has {', '.join(available)}")
    return wanted
