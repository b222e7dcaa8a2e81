"""Models that train where the data of all markets lie in one place, those of one market, and the baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from fedrec.models.pointwise.acmr import Acmr, Attention
from fedrec.models.pointwise.forec import Forec
from fedrec.models.pointwise.interface import PointwiseModel, Sizes
from fedrec.models.pointwise.m3rec import M3Rec
from fedrec.seeds import seeded_torch
from fedrec.simulation.table3.ground import Figures, Ground, Results
from fedrec.training.evaluation import all_ranks
from fedrec.training.forec import fit_forec
from fedrec.training.pointwise import PointwiseMarket, fit, validation
from fedrec.training.report import Methods
from fedrec.training.similarities import across_markets, within_market

BASELINES = {"popularity": "popularity", "itemknn": "item-kNN", "ease": "EASE"}  # methods, by the table's names


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
        progress=ground.progress,
    )
    return {name: {m.name: ground.evaluated(model, m, best) for m, best in zip(wanted, fits, strict=True)}}


def alone(make: Callable[[Sizes, PointwiseMarket], PointwiseModel], name: str, ground: Ground) -> Results:
    """One model for each market, of its own interactions alone. Negatives are of the union, as those that it ranks."""
    results = {}
    for wanted in ground.wanted:
        market = replace(wanted, index=0, first_user=0)
        with seeded_torch(ground.split, name, market.name):
            model = make(Sizes(len(market.split.users), ground.sizes.items, 1), wanted)
        purpose = f"{name} {market.name}"
        (best,) = fit(
            model, [market], [validation(market)], ground.settings, ground.split, purpose, progress=ground.progress
        )
        results[market.name] = ground.evaluated(model, market, best)
    return {name: results}


def among_own(run: Callable[[Ground], Results], names: Mapping[str, str], ground: Ground) -> Results:
    """As if every market were the only one: its own catalogue is all there is to rank, and to draw negatives from.

    ``names``: what each model of ``run`` is called then.
    """
    found = {target: run(replace(ground, targets=(target,), only=target)) for target in ground.targets}
    return {name: {target: found[target][model][target] for target in found} for model, name in names.items()}


def acmr(name: str, ground: Ground, attention: Attention = "history", knows_market: bool = True) -> Results:
    """Pre-trained on all markets, then fine-tuned on each; without the second step, what the first left."""
    with seeded_torch(ground.split, name):
        model = Acmr(ground.sizes, attention=attention, knows_market=knows_market)
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
    evaluations = [validation(market) for market in wanted]
    rows = model.positives_at_once
    before, after = {}, {}
    fits = fit(model, trained, evaluations, ground.settings, ground.split, name, rows, ground.progress)
    for market, evaluate, best in zip(wanted, evaluations, fits, strict=True):
        before[market.name] = ground.evaluated(model, market, best)  # leaves the model in that state
        purpose = f"{name} fine-tuning {market.name}"
        (tuned,) = fit(model, [market], [evaluate], ground.settings, ground.split, purpose, rows, ground.progress)
        after[market.name] = ground.evaluated(model, market, tuned)
    return before, after


def forec(ground: Ground) -> Results:
    """Pre-training, meta-learning, forks."""
    with seeded_torch(ground.split, "FOREC"):
        model = Forec(ground.sizes)
    fits = fit_forec(model, ground.markets, ground.wanted, ground.settings, ground.split, ground.progress)
    return {"FOREC": {m.name: ground.evaluated(model, m, best) for m, best in zip(ground.wanted, fits, strict=True)}}


def m3rec(ground: Ground) -> Results:
    """Similarities of all markets first, then one model for each."""
    total = ground.counts[0]
    for counts in ground.counts[1:]:
        total = total + counts
    across = torch.from_numpy(across_markets(total))

    def make(sizes: Sizes, market: PointwiseMarket) -> M3Rec:
        return M3Rec(sizes, torch.from_numpy(within_market(ground.counts[market.index])), across)

    return alone(make, "M3Rec", ground)


def baselines(ground: Ground) -> Results:
    """Popularity inside the market, and linear item-item models of its own interactions."""
    results: Results = {name: {} for name in BASELINES.values()}
    for market in ground.prepared:
        if market.store.name in ground.targets:
            scorers = Methods(ground.recipe.evaluation, ground.recipe.prior, market).scorers(market.test, {})
            for method, name in BASELINES.items():
                results[name][market.store.name] = Figures(all_ranks(scorers[method], market.test))
    return results
