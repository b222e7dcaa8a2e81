"""``summary.json``: the figures of a run in one stable schema."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedrec.exchange.figures import SHARED
from fedrec.recipe import Recipe

SCHEMA = 2
CTR_METRICS = ("auc", "gauc", "logloss", "ece")
VOLATILE = ("engine", "device", "min_users", "seconds", "train_seconds", "peak_rss_mb")  # may differ between equal runs
_WITHOUT_PRIOR = "_without_prior"
SIZES = ("users", "items", "interactions")


def build_summary(
    *,
    recipe: Recipe,
    engine: str,
    dataset: str,
    members: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Mapping[str, float]],
    rounds: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, str]],
    other_bytes: tuple[int, int],
    seconds: Mapping[str, float],
    peak_rss_mb: float,
    privacy: Mapping[str, Mapping[str, Any]],
    chosen: Mapping[str, Any],
    warm_start: bool,
) -> dict[str, Any]:
    """Assemble the summary from the scalars that the markets reported.

    ``results`` maps market to ``{method}.{metric}`` and ``difference.{method}.{other}.{metric}.{mean,low,high}``, of
    which federated minus local is the ``gain``; ``failed`` lists the stages that a market could not
    finish; ``other_bytes`` are (up, down) outside the rounds; ``privacy`` is each market's plan, empty without any;
    ``chosen`` says which round's model was taken (0: the one that the run began with), which market decided that alone,
    and in which stages the first one was kept; ``warm_start``, whether an earlier run had trained that first model.
    """
    named = _named(recipe, results.values())
    markets = {
        name: _market(member, results.get(name, {}), named)
        | ({"privacy": dict(privacy[name])} if name in privacy else {})
        for name, member in sorted(members.items())
    }
    return {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "engine": engine,
        "dataset": dataset,
        "device": "+".join(sorted({str(member["device"]) for member in members.values()})),
        "protocol": recipe.evaluation.protocol,
        "semantics": recipe.item_semantics,
        "markets": markets,
        "failed": [dict(entry) for entry in failed],
        "mean": _means(market["results"] for market in markets.values()),
        "rounds": [dict(record) for record in rounds],
        "best_round": chosen.get("best_round"),
        "warm_start": warm_start,
        "decided_by": chosen.get("decided_by"),
        "kept_first": list(chosen.get("kept_first", [])),
        "bytes": {
            "up": other_bytes[0] + sum(record["bytes_up"] for record in rounds),
            "down": other_bytes[1] + sum(record["bytes_down"] for record in rounds),
        },
        "seconds": dict(seconds),
        "peak_rss_mb": peak_rss_mb,
        "privacy": _privacy(recipe, privacy),
    }


def comparable(value: Any) -> Any:
    """A summary without what may differ between two equal runs."""
    if isinstance(value, Mapping):
        return {key: comparable(part) for key, part in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [comparable(part) for part in value]
    return value


def _named(recipe: Recipe, results: Iterable[Mapping[str, float]]) -> set[str]:
    """The methods whose figures are taken: those of the recipe, and variants of them that most markets report.

    A method that one market adds would be in nobody else's figures, and means are over markets that have all methods.
    """
    reported = [{name.partition(".")[0] for name in scalars} for scalars in results if scalars]
    wanted: set[str] = set(recipe.evaluation.methods)
    variants = {name for names in reported for name in names if name == "prior" or name.endswith(_WITHOUT_PRIOR)}
    usual = {name for name in variants if 2 * sum(name in names for names in reported) > len(reported)}
    if recipe.privacy.on and recipe.privacy.reports == "noised":
        wanted.add(SHARED)
    return wanted | {name for name in usual if name == "prior" or name.removesuffix(_WITHOUT_PRIOR) in wanted}


def _market(member: Mapping[str, Any], scalars: Mapping[str, float], named: set[str]) -> dict[str, Any]:
    results: defaultdict[str, dict[str, float]] = defaultdict(dict)
    differences: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    chosen: dict[str, float] = {}
    for name, value in sorted(scalars.items()):
        first, _, rest = name.partition(".")
        if first == "difference":
            method, other, metric, part = rest.split(".")
            if not {method, other} <= named:
                continue
            differences.setdefault(method, {}).setdefault(other, {}).setdefault(metric, {})[part] = value
        elif "@" in rest or rest in CTR_METRICS:
            if first not in named:
                continue
            results[first][rest] = value
        elif rest:
            chosen[name] = value
    for others in differences.values():
        for other, metrics in others.items():  # a market may send what it likes; half an interval is none
            others[other] = {name: parts for name, parts in metrics.items() if set(parts) == {"mean", "low", "high"}}
    return {
        **{name: member[name] for name in (*SIZES, "min_users")},
        "evaluated_users": int(scalars.get("users", 0)),
        "catalogue": int(scalars["catalogue"]) if "catalogue" in scalars else None,
        "outside": scalars.get("outside"),
        "results": dict(results),
        "gain": differences.get("federated", {}).get("local", {}),
        "differences": differences,
        "chosen": chosen,
    }


def _privacy(recipe: Recipe, plans: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What holds for all markets, at the epsilon of the worst; what became of figures of users."""
    names = ("unit", "delta", "accountant", "relation", "sampling")
    first: Mapping[str, Any] = next(iter(plans.values()), {})
    return {
        **{name: first.get(name) for name in names},
        "epsilon": max((plan["epsilon"] for plan in plans.values()), default=None),
        "replace_one": max((plan["replace_one"] for plan in plans.values()), key=_loss, default=None),
        "reports": recipe.privacy.reports if recipe.privacy.on else None,
        "catalogue": recipe.privacy.catalogue if recipe.privacy.on else None,
        "mechanisms": sorted({name for plan in plans.values() for name in plan["releases"]}),
    }


def _loss(promise: Mapping[str, float]) -> float:
    return promise["epsilon"]


def _means(results: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Unweighted mean over the markets that have the method."""
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for market in results:
        for method, metrics in market.items():
            for metric, value in metrics.items():
                values[method][metric].append(value)
    return {
        method: {metric: math.fsum(parts) / len(parts) for metric, parts in metrics.items()}
        for method, metrics in sorted(values.items())
    }
