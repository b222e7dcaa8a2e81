"""``fedrec sweep contributions``: a federation with all of its markets, and without each one of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedrec.arrays import read_arrays
from fedrec.clients.node import MarketNode
from fedrec.data.store import open_stores
from fedrec.errors import UserError
from fedrec.files import reading
from fedrec.metrics.significance import bootstrap_means_over_seeds
from fedrec.progress import Progress, no_progress
from fedrec.recipe import Recipe, load_recipe
from fedrec.report.contributions import Effect, write_contributions, write_table
from fedrec.seeds import numpy_generator
from fedrec.simulation.run_page import write_page
from fedrec.simulation.sweep import Point, sweep

ALL = "all"
_METRIC = "ndcg@10"
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
    stores = {store.name: store for store in open_stores(data)}
    markets = recipe.data.markets or sorted(stores)
    _check(recipe, markets)
    points = {ALL: Point(ALL, ("evaluation.methods=[federated, local]",))}
    for market in markets:
        rest = ", ".join(f'"{name}"' for name in markets if name != market)
        points[market] = Point(f"without-{market}", (f"data.markets=[{rest}]", "evaluation.methods=[federated]"))
    found: dict[str, list[PerUser]] = {name: [] for name in points}
    names, whole = {point: name for name, point in points.items()}, []
    for done in sweep(reference, list(points.values()), seeds, overrides, data, out, progress, details, jobs):
        name = names[done.point]
        there = [market for market in markets if market != name]
        nodes = {market: MarketNode(stores[market], done.run.markets / market) for market in there}
        found[name].append({market: _per_user(node.per_user) for market, node in nodes.items()})
        if name == ALL:
            whole.append(done.run.path)
    effects = _effects(recipe, found, markets)
    write_contributions(out, recipe.name, seeds, effects)
    for run in whole:
        write_table(run, effects)
        write_page(run)
    return effects


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
    if len(markets) < 3:
        raise UserError(f"{len(markets)} markets: without one of them there is no federation; take three at least")


def _per_user(path: Path) -> dict[str, np.ndarray]:
    with reading(path):
        arrays = read_arrays(path)
        return {name: arrays[f"{name}.{_METRIC}"] for name in ("federated", "local") if f"{name}.{_METRIC}" in arrays}


def _effects(recipe: Recipe, found: dict[str, list[PerUser]], markets: Sequence[str]) -> list[Effect]:
    effects = []
    for without in [None, *markets]:
        touched = [market for market in markets if market != without]
        differences = {}
        for market in touched:
            whole = [run[market]["federated"] for run in found[ALL]]
            other = (
                [run[market]["local"] for run in found[ALL]]
                if without is None
                else [run[market]["federated"] for run in found[without]]
            )
            differences[market] = np.stack(whole) - np.stack(other)  # [S, U]
        generator = numpy_generator(recipe.seed, without or "", "contributions")
        intervals = bootstrap_means_over_seeds(differences, recipe.evaluation.resamples, generator)
        effects += [Effect(without, market, *interval) for market, interval in intervals.items()]
    return effects
