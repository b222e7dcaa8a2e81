"""``fedrec sweep contributions``: a federation with all of its markets, and without each one of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedrec.arrays import read_arrays
from fedrec.clients.node import MarketNode
from fedrec.data.store import MarketStore, open_stores
from fedrec.errors import UserError
from fedrec.files import reading
from fedrec.metrics.significance import bootstrap_means_over_seeds
from fedrec.progress import Progress, no_progress
from fedrec.recipe import Recipe, load_recipe
from fedrec.report.contributions import MEAN, Effect, write_contributions, write_table
from fedrec.seeds import numpy_generator
from fedrec.simulation.run_page import write_page
from fedrec.simulation.sweep import Point, sweep

_METRIC = "ndcg@10"
_USERS = "users"
PerUser = dict[str, dict[str, np.ndarray]]  # market -> method -> [U]


def sweep_contributions(
    reference: str,
    seeds: int,
    overrides: Sequence[str],
    data: Path,
    out: Path,
    progress: Progress,
    details: Progress = no_progress,
    jobs: int = 1,
) -> list[Effect]:
    """Run, compare, write: what every market has of the others, and what each of them loses without another.

    The reports of the runs with all markets get the figure, too.

    ``jobs``, ``progress`` and ``details`` as in :func:`fedrec.simulation.sweep.sweep`. The same users are ranked over
    the same items in all runs, so differences are paired; intervals are over users and seeds.
    """
    recipe = load_recipe(reference, overrides)
    stores = {store.name: store for store in open_stores(data, recipe.data.markets)}
    markets = sorted(stores)
    _check(recipe, markets)
    same = _resolved(recipe, list(stores.values()))
    points: dict[str | None, Point] = {None: Point("all", (*same, "evaluation.methods=[federated, local]"))}
    for market in markets:
        rest = ", ".join(f'"{name}"' for name in markets if name != market)
        changes = (*same, f"data.markets=[{rest}]", "evaluation.methods=[federated]")
        points[market] = Point(f"without-{market}", changes)
    found: dict[str | None, list[PerUser]] = {name: [] for name in points}
    names, whole = {point: name for name, point in points.items()}, []
    for done in sweep(reference, list(points.values()), seeds, overrides, data, out, progress, details, jobs):
        name = names[done.point]
        there = [market for market in markets if market != name]
        nodes = {market: MarketNode(stores[market], done.run.markets / market) for market in there}
        wanted = ("federated", "local") if name is None else ("federated",)
        found[name].append({market: _per_user(node.per_user, wanted) for market, node in nodes.items()})
        if name is None:
            whole.append(done.run.path)
    effects = _effects(recipe, found, markets)
    write_contributions(out, recipe.name, seeds, effects)
    for run in whole:
        write_table(run, effects)
        write_page(run)
    return effects


def _resolved(recipe: Recipe, stores: Sequence[MarketStore]) -> tuple[str, ...]:
    """What ``auto`` comes to with all markets: without one of them it may come to something else."""
    found = recipe.resolved(
        all(store.families is not None for store in stores), all(store.has_text for store in stores)
    )
    chosen = {
        "evaluation.protocol": (recipe.evaluation.protocol, found.evaluation.protocol),
        "semantics.kind": (recipe.semantics.kind, found.semantics.kind),
        "codes.alignment": (recipe.codes.alignment, found.codes.alignment),
        "scores.kind": (recipe.scores.kind, found.scores.kind),
    }
    return tuple(f"{key}={now}" for key, (before, now) in chosen.items() if before != now)


def _check(recipe: Recipe, markets: Sequence[str]) -> None:
    if recipe.task != "sequential" or "federated" not in recipe.evaluation.methods:
        raise UserError(
            f"{recipe.name}: contributions are told of a sequential model that is trained in a federation; "
            "add federated to evaluation.methods, or take another recipe"
        )
    if recipe.ranks_union:
        raise UserError(
            "evaluation: what is ranked depends on who takes part, so figures with and without a market say nothing; "
            "take a protocol other than acmr, and evaluation.catalogue=known"
        )
    if MEAN in markets:
        raise UserError(
            f"data.markets: {MEAN!r} is what the mean over markets is called here; name the market otherwise"
        )
    if len(markets) < 3:
        raise UserError(f"{len(markets)} markets: without one of them there is no federation; take three at least")


def _per_user(path: Path, methods: Sequence[str]) -> dict[str, np.ndarray]:
    with reading(path):
        arrays = read_arrays(path)
    missing = [name for name in methods if f"{name}.{_METRIC}" not in arrays]
    if missing:
        raise UserError(f"{path}: no figures of {missing[0]}, which failed there; remove the run and sweep again")
    return {_USERS: arrays[_USERS], **{name: arrays[f"{name}.{_METRIC}"] for name in methods}}


def _effects(recipe: Recipe, found: dict[str | None, list[PerUser]], markets: Sequence[str]) -> list[Effect]:
    effects = []
    for without in [None, *markets]:
        touched = [market for market in markets if market != without]
        differences = {}
        for market in touched:
            less = "local" if without is None else "federated"
            pairs = [(one[market], other[market]) for one, other in zip(found[None], found[without], strict=True)]
            if not all(np.array_equal(one[_USERS], other[_USERS]) for one, other in pairs):
                raise UserError(f"market {market!r}: other users are tested without {without!r}; nothing can be told")
            differences[market] = np.stack([one["federated"] - other[less] for one, other in pairs])  # [S, U]
        generator = numpy_generator(recipe.seed, without or "", "contributions")
        intervals = bootstrap_means_over_seeds(differences, recipe.evaluation.resamples, generator)
        effects += [Effect(without, market, *interval) for market, interval in intervals.items()]
    return effects
