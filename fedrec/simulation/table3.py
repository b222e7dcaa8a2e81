"""``fedrec bench table3``: the models of ACMR's Table 3, and ours, on the markets of one machine, split by split.

A run is one entry on one split; it gives a row for every market and every model that it trains on the way. Rows are
appended when a run is whole, and a run that already has its rows is not made again, so that a table can be finished
another day. Protocol ``acmr``: the seed decides the split.
"""

import csv
import hashlib
import io
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import sparse

from fedrec.data.splits import union_items
from fedrec.data.store import open_stores
from fedrec.errors import UserError
from fedrec.files import write_atomic
from fedrec.floors.ease import gram
from fedrec.metrics.ranking import ndcg, recall
from fedrec.models.pointwise.acmr import Acmr, Reading
from fedrec.models.pointwise.bert4rec import Bert4Rec
from fedrec.models.pointwise.conet import CoNet
from fedrec.models.pointwise.cross_stitch import CrossStitch
from fedrec.models.pointwise.ddtcdr import Ddtcdr
from fedrec.models.pointwise.forec import Forec
from fedrec.models.pointwise.interface import PointwiseModel, Sizes
from fedrec.models.pointwise.m3rec import M3Rec
from fedrec.models.pointwise.mmoe import Mmoe
from fedrec.models.pointwise.neumf import NeuMF
from fedrec.models.pointwise.wide_and_deep import WideAndDeep
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.report.table3 import METRICS, Row
from fedrec.seeds import seeded_torch
from fedrec.simulation.complete import complete
from fedrec.tell import Tell, silent
from fedrec.threads import single_threaded
from fedrec.training.evaluation import all_ranks
from fedrec.training.forec import fit_forec
from fedrec.training.pointwise import (
    Fitted,
    PointwiseMarket,
    Settings,
    candidate_ranks,
    fit,
    validation,
)
from fedrec.training.prepared import PreparedMarket
from fedrec.training.report import Contenders
from fedrec.training.similarities import across_markets, within_market

# One value for all, as in docs/results.md: choosing among many on few validation users overfits.
_FIXED = ("ease.lambdas=[50]", "fedease.lambdas=[50]", "itemknn.neighbours=[100]", "itemknn.shrink=[10]")
_METHODS = "evaluation.methods=[popularity, itemknn, ease]"
_FLOORS = {"popularity": "popularity", "itemknn": "item-kNN", "ease": "EASE"}  # methods, by the table's names
Ranks = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """One model on one market of one split."""

    ranks: Ranks  # [U] of the test users
    validation: float | None = None
    epochs: int | None = None


Results = dict[str, dict[str, Figures]]  # by model, by market


@dataclass(frozen=True)
class Ground:
    """All markets of a folder under one split. Test is read when a model is finished, once."""

    folder: Path
    split: int
    targets: tuple[str, ...]  # the markets that figures are wanted of; all are trained on
    unfinished: Path  # where runs of federations lie until they are done
    settings: Settings = field(default_factory=Settings)
    tell: Tell = silent
    only: str | None = None  # the one market there is, where the others do not exist

    @cached_property
    def recipe(self) -> Recipe:
        """Protocol and seed."""
        return load_recipe("floors", ["evaluation.protocol=acmr", f"seed={self.split}", *_FIXED, _METHODS])

    @cached_property
    def prepared(self) -> list[PreparedMarket]:
        """Every market over the union of the catalogues."""
        stores = open_stores(self.folder, None if self.only is None else [self.only])
        union = union_items(stores, self.recipe.evaluation, self.split)
        return [PreparedMarket(store, self.recipe, union) for store in stores]

    @cached_property
    def markets(self) -> list[PointwiseMarket]:
        """The same as pointwise models see them."""
        result, users = [], 0
        for index, market in enumerate(self.prepared):
            result.append(PointwiseMarket(market.store.name, index, users, market.split))
            users += len(market.split.users)
        return result

    @property
    def wanted(self) -> list[PointwiseMarket]:
        """The markets that figures are wanted of."""
        return [market for market in self.markets if market.name in self.targets]

    @property
    def sizes(self) -> Sizes:
        """Of all markets together."""
        users = sum(len(market.split.users) for market in self.markets)
        return Sizes(users, len(self.prepared[0].items), len(self.markets))

    @cached_property
    def counts(self) -> list[sparse.csr_matrix]:
        """Item-item counts of every market's train items, over the union."""
        return [gram(market.train.matrix()) for market in self.prepared]

    def judged(self, model: PointwiseModel, market: PointwiseMarket, fitted: Fitted) -> Figures:
        """The finished model on the market's test users."""
        model.load_state_dict(fitted.state)
        return Figures(candidate_ranks(model, market, market.split.test), fitted.validation, fitted.epochs)


@dataclass(frozen=True)
class Entry:
    """A run: which models it gives figures of, and how."""

    models: tuple[str, ...]
    run: Callable[[Ground], Results]


def together(make: Callable[[Sizes], PointwiseModel], name: str, ground: Ground) -> Results:
    """One model for all markets; each market keeps the epoch that its own validation users liked best."""
    with seeded_torch(ground.split, name):
        model = make(ground.sizes)
    wanted = ground.wanted
    fits = fit(
        model,
        ground.markets,
        [validation(market) for market in wanted],
        ground.settings,
        ground.split,
        name,
        tell=ground.tell,
    )
    return {name: {m.name: ground.judged(model, m, best) for m, best in zip(wanted, fits, strict=True)}}


def alone(make: Callable[[Sizes, PointwiseMarket], PointwiseModel], name: str, ground: Ground) -> Results:
    """One model for each market, of its own interactions alone. Negatives are of the union, as those that it ranks."""
    results = {}
    for wanted in ground.wanted:
        market = replace(wanted, index=0, first_user=0)
        with seeded_torch(ground.split, name, market.name):
            model = make(Sizes(len(market.split.users), ground.sizes.items, 1), wanted)
        purpose = f"{name} {market.name}"
        (best,) = fit(model, [market], [validation(market)], ground.settings, ground.split, purpose, tell=ground.tell)
        results[market.name] = ground.judged(model, market, best)
    return {name: results}


def among_own(entry: Entry, models: Mapping[str, str], ground: Ground) -> Results:
    """As if every market were the only one: its own catalogue is all there is to rank, and to draw negatives from."""
    results: Results = {name: {} for name in models.values()}
    for target in ground.targets:
        found = entry.run(replace(ground, targets=(target,), only=target))
        for model, name in models.items():
            results[name][target] = found[model][target]
    return results


def acmr(name: str, ground: Ground, reading: Reading = "apart", knows_market: bool = True) -> Results:
    """Pre-trained on all markets, then fine-tuned on each; without the second step, what the first left."""
    with seeded_torch(ground.split, name):
        model = Acmr(ground.sizes, reading=reading, knows_market=knows_market)
    before, after = _two_stages(model, name, ground, ground.markets, ground.wanted)
    return {f"{name}, no fine-tuning": before, name: after}


def acmr_alone(name: str, ground: Ground) -> Results:
    """Ablation: every market for itself."""
    return alone(lambda sizes, market: Acmr(sizes), name, ground)


def acmr_left_out(name: str, ground: Ground) -> Results:
    """Ablation: pre-trained on the other markets alone, then fine-tuned on the target."""
    after: dict[str, Figures] = {}
    for target in ground.wanted:
        with seeded_torch(ground.split, name):
            model = Acmr(ground.sizes)
        others = [market for market in ground.markets if market is not target]
        after |= _two_stages(model, f"{name} {target.name}", ground, others, [target])[1]
    return {name: after}


def _two_stages(
    model: Acmr,
    name: str,
    ground: Ground,
    trained: Sequence[PointwiseMarket],
    wanted: Sequence[PointwiseMarket],
) -> tuple[dict[str, Figures], dict[str, Figures]]:
    judges = [validation(market) for market in wanted]
    rows = model.positives_at_once
    before, after = {}, {}
    fits = fit(model, trained, judges, ground.settings, ground.split, name, rows, ground.tell)
    for market, judge, best in zip(wanted, judges, fits, strict=True):
        before[market.name] = ground.judged(model, market, best)  # leaves the model in that state
        purpose = f"{name} fine-tuning {market.name}"
        (tuned,) = fit(model, [market], [judge], ground.settings, ground.split, purpose, rows, ground.tell)
        after[market.name] = ground.judged(model, market, tuned)
    return before, after


def forec(ground: Ground) -> Results:
    """Pre-training, meta-learning, forks."""
    with seeded_torch(ground.split, "FOREC"):
        model = Forec(ground.sizes)
    fits = fit_forec(model, ground.markets, ground.wanted, ground.settings, ground.split, ground.tell)
    return {"FOREC": {m.name: ground.judged(model, m, best) for m, best in zip(ground.wanted, fits, strict=True)}}


def m3rec(ground: Ground) -> Results:
    """Similarities of all markets first, then one model for each."""
    total = ground.counts[0]
    for counts in ground.counts[1:]:
        total = total + counts
    across = torch.from_numpy(across_markets(total))

    def make(sizes: Sizes, market: PointwiseMarket) -> M3Rec:
        return M3Rec(sizes, torch.from_numpy(within_market(ground.counts[market.index])), across)

    return alone(make, "M3Rec", ground)


def floors(ground: Ground) -> Results:
    """Popularity inside the market, and linear item-item models of its own interactions."""
    results: Results = {name: {} for name in _FLOORS.values()}
    for market in ground.prepared:
        if market.store.name in ground.targets:
            scorers = Contenders(ground.recipe, market).scorers(market.test, {})
            for method, name in _FLOORS.items():
                results[name][market.store.name] = Figures(all_ranks(scorers[method], market.test))
    return results


def federated(recipe: str, overrides: Sequence[str], methods: Mapping[str, str], ground: Ground) -> Results:
    """A federation on the same split. ``methods``: its own by the table's names.

    Its run folder lies in ``ground.unfinished`` until its rows are written: one that was interrupted goes on.
    """
    chosen = load_recipe(recipe, [*overrides, "evaluation.protocol=acmr", f"seed={ground.split}"])
    made_of = hashlib.sha256(recipe_json(chosen).encode()).hexdigest()[:8]
    run = ground.unfinished / f"{recipe}-{ground.split}-{made_of}"
    complete(chosen, ground.folder, run, ground.tell)
    found = {name: load_file(run / "markets" / name / "per_user.safetensors") for name in ground.targets}
    results: Results = {name: {} for name in methods}
    for name, method in methods.items():
        for market, arrays in found.items():
            results[name][market] = Figures(_ranks(arrays[f"{method}.mrr@20"]))
    return results


def _ranks(reciprocal: NDArray[np.float64]) -> Ranks:
    """Ranks from what is kept of them, 1 / (rank + 1) inside the first twenty; beyond those all are alike here."""
    with np.errstate(divide="ignore"):
        return np.where(reciprocal > 0, 1 / reciprocal - 1, np.inf)


def _for_each(name: str, make: Callable[[Sizes], PointwiseModel]) -> Entry:
    return Entry((name,), partial(alone, lambda sizes, market: make(sizes), name))


def _for_all(name: str, make: Callable[[Sizes], PointwiseModel]) -> Entry:
    return Entry((name,), partial(together, make, name))


def _acmr(name: str, run: Callable[[str, Ground], Results]) -> Entry:
    return Entry((f"{name}, no fine-tuning", name), partial(run, name))


def _among_own(name: str, make: Callable[[Sizes], PointwiseModel]) -> Entry:
    label = f"{name} among own items"
    return Entry((label,), partial(among_own, _for_each(name, make), {name: label}))


def _federation(recipe: str, overrides: Sequence[str], methods: Mapping[str, str]) -> Entry:
    return Entry(tuple(methods), partial(federated, recipe, overrides, methods))


ENTRIES: dict[str, Entry] = {
    "floors": Entry(tuple(_FLOORS.values()), floors),
    "neumf": _for_each("NeuMF", NeuMF),
    "wide-deep": _for_each("Wide&Deep", WideAndDeep),
    "bert4rec": _for_each("Bert4Rec", Bert4Rec),
    "neumf++": _for_all("NeuMF++", NeuMF),
    "wide-deep++": _for_all("Wide&Deep++", WideAndDeep),
    "bert4rec++": _for_all("Bert4Rec++", Bert4Rec),
    "conet": _for_all("CoNet", CoNet),
    "ddtcdr": _for_all("DDTCDR", Ddtcdr),
    "mmoe": _for_all("MMoE", Mmoe),
    "cross-stitch": _for_all("Cross-Stitch", CrossStitch),
    "forec": Entry(("FOREC",), forec),
    "m3rec": Entry(("M3Rec",), m3rec),
    "acmr": _acmr("ACMR", partial(acmr, reading="joint")),
    "acmr-apart": _acmr("ACMR apart", acmr),
    "acmr-no-market": _acmr("ACMR apart, no market embedding", partial(acmr, knows_market=False)),
    "acmr-single": Entry(("ACMR apart, single market",), partial(acmr_alone, "ACMR apart, single market")),
    "acmr-left-out": Entry(("ACMR apart, target left out",), partial(acmr_left_out, "ACMR apart, target left out")),
    "neumf-own": _among_own("NeuMF", NeuMF),
    "wide-deep-own": _among_own("Wide&Deep", WideAndDeep),
    "bert4rec-own": _among_own("Bert4Rec", Bert4Rec),
    "federated-acmr": _federation(
        "acmr",
        [*_FIXED, "evaluation.methods=[federated]"],
        {"ACMR federated": "federated_without_prior", "ACMR federated with prior": "federated"},
    ),
    "fecosr": _federation(
        "fecosr",
        [*_FIXED, "evaluation.methods=[federated, local]"],
        {
            "FeCoSR-style": "federated",
            "FeCoSR-style without prior": "federated_without_prior",
            "FeCoSR-style local twin": "local",
        },
    ),
    "codes": _federation(
        "codes",
        [*_FIXED, "evaluation.methods=[federated, local]"],
        {"codes (FedMM-style)": "federated", "codes (FedMM-style) without prior": "federated_without_prior"},
    ),
    "fedease": _federation(
        "fedease",
        [*_FIXED, "evaluation.methods=[fedease]"],
        {"federated EASE": "fedease", "federated EASE without prior": "fedease_without_prior"},
    ),
}
QUICK = ("in", "jp")
COLUMNS = ("stamp", "version", "model", "market", "split", *METRICS, "users", "validation", "epochs", "run_seconds")


def bench(
    folder: Path,
    entries: Sequence[str],
    markets: Sequence[str] | None,
    splits: Sequence[int],
    rows: Path,
    stamp: str,
    progress: Tell,
    tell: Tell = silent,
    settings: Settings | None = None,
) -> Iterator[list[Row]]:
    """Make every run that lacks rows in ``rows``; after each, all rows there are. ``stamp`` goes into every new row;
    ``progress`` hears of every run, ``tell`` of every epoch."""
    names = [store.name for store in open_stores(folder)]
    unknown = sorted(set(markets or ()) - set(names))
    if unknown:
        raise UserError(f"--markets {unknown[0]!r}: not in {folder}; it has {', '.join(names)}")
    unfinished = rows.parent / "unfinished"
    targets = tuple(market for market in names if markets is None or market in markets)
    for split in splits:
        for name in entries:
            entry = ENTRIES[name]
            known = {(row["model"], row["market"], int(row["split"])) for row in read_rows(rows)}
            missing = tuple(t for t in targets if any((model, t, split) not in known for model in entry.models))
            if missing:
                progress(f"{name}, split {split}: {', '.join(missing)}")
                started = time.perf_counter()
                with single_threaded():
                    results = entry.run(Ground(folder, split, missing, unfinished, settings or Settings(), tell))
                seconds = time.perf_counter() - started
                append_rows(rows, _rows(entry, results, split, seconds, stamp, known))
                shutil.rmtree(unfinished, ignore_errors=True)
            yield read_rows(rows)


def _rows(
    entry: Entry, results: Results, split: int, seconds: float, stamp: str, known: set[tuple[str, str, int]]
) -> list[Row]:
    return [
        {
            "stamp": stamp,
            "version": version("fedrec"),
            "model": model,
            "market": market,
            "split": str(split),
            **{metric: f"{value:.6f}" for metric, value in _metrics(figures.ranks).items()},
            "users": str(len(figures.ranks)),
            "validation": "" if figures.validation is None else f"{figures.validation:.6f}",
            "epochs": "" if figures.epochs is None else str(figures.epochs),
            "run_seconds": f"{seconds:.0f}",
        }
        for model in entry.models
        for market, figures in sorted(results[model].items())
        if (model, market, split) not in known
    ]


def _metrics(ranks: Ranks) -> dict[str, float]:
    """The four of the published table."""
    by_name = {"recall": recall, "ndcg": ndcg}
    return {metric: float(by_name[metric.split("@")[0]](ranks, int(metric.split("@")[1])).mean()) for metric in METRICS}


def read_rows(path: Path) -> list[Row]:
    """All rows; none where the file does not exist yet. Raises :class:`UserError` for a file that is none of ours."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            if list(row) != list(COLUMNS) or None in row.values():
                raise ValueError
            int(row["split"])
    except (ValueError, csv.Error):
        raise UserError(f"{path}: not rows of this table, or damaged; mend it, or choose another --out") from None
    return rows


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows; the file is written whole, so that an interrupted bench leaves all of a run or nothing."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*read_rows(path), *rows])
    write_atomic(path, buffer.getvalue().encode())
