"""A run in words: what came of it, and what to know before believing it."""

from collections.abc import Mapping
from typing import Any

from fedrec.components.registry import components
from fedrec.recipe import HEADLINES
from fedrec.report.tables import common_means

BASELINES = ("popularity", "itemknn", "ease")
_LOWER_IS_BETTER = frozenset({"logloss", "ece"})
_METHOD_WORDS = {
    "itemknn": "item-kNN",
    "ease": "EASE",
    "fedease": "federated EASE",
    "local_shared_semantics": "local on shared semantics",
    "local_shared_statistics": "local on summed statistics",
    "nocodes": "no codes",
    "randomcodes": "random codes",
    "shared": "the shared model under noise",
}
Summary = Mapping[str, Any]


def headline_metric(summary: Summary) -> str:
    """The metric that a run is first evaluated by: NDCG@10, where the recipe has it."""
    if summary["protocol"] == "ctr":
        return "auc"
    names = [name for metrics in summary["mean"].values() for name in metrics]
    return "ndcg@10" if "ndcg@10" in names or not names else names[0]


def headline_method(summary: Summary, metric: str) -> str | None:
    """The method that learned from all markets; None where none did."""
    return next((name for name in HEADLINES if metric in summary["mean"].get(name, {})), None)


def lower_is_better(metric: str) -> bool:
    """Whether the metric is a loss or an error."""
    known = components("metric").get(metric.partition("@")[0])
    return metric in _LOWER_IS_BETTER or (known is not None and not known.load().higher_is_better)


def better(metric: str, left: float, right: float) -> bool:
    """Whether ``left`` is the better figure."""
    return left < right if lower_is_better(metric) else left > right


def method_words(method: str) -> str:
    """A method's name in a sentence."""
    name, alone, _ = method.partition("_without_prior")
    return _METHOD_WORDS.get(name, name) + (" without the prior" if alone else "")


def kept_untrained(summary: Summary) -> bool:
    """Whether there were rounds, and validation liked none of their models better than the first."""
    return summary["best_round"] == 0 and bool(summary["rounds"])


def first_model(summary: Summary) -> str:
    """What the rounds began with, in a sentence."""
    return "the earlier run's model" if summary.get("warm_start") else "the untrained model"


def answer(summary: Summary, metric: str) -> str:
    """The run in a sentence or two."""
    figures, markets = common_means(summary, metric)
    known, name = len(summary["markets"]), metric.upper()
    if not figures:
        return f"{known} markets trained together; no figures of users left them."
    count = f"{known}" if len(markets) == known else f"{len(markets)} of {known}"
    method = headline_method(summary, metric)
    if method is None:
        first = best(figures, metric)
        return f"The best mean {name} over {count} markets is {figures[first]:.4f}, by {method_words(first)}."
    value, against = figures[method], []
    if method == "federated" and "local" in figures:
        alone = figures["local"]
        against.append(f"{alone:.4f} by the same model in one market alone ({_change(value, alone)})")
    there = {name: figures[name] for name in BASELINES if name in figures}
    if there:
        first = best(there, metric)
        against.append(
            f"{there[first]:.4f} by the best baseline, {method_words(first)} ({_change(value, there[first])})"
        )
    sentence = f"Over {count} markets, {method_words(method)} reaches a mean {name} of {value:.4f}"
    sentence += f", against {' and '.join(against)}." if against else "."
    gains = [market["gain"][metric] for market in summary["markets"].values() if metric in market["gain"]]
    if gains:
        up, down = sum(one["low"] > 0 for one in gains), sum(one["high"] < 0 for one in gains)
        helps, harms = (down, up) if lower_is_better(metric) else (up, down)
        sentence += (
            f" Learning together helps in {helps} of {len(gains)} markets and harms in {harms or 'none'},"
            " counting those whose 95 % interval excludes zero."
        )
    return _nothing_won(summary) + sentence


def _nothing_won(summary: Summary) -> str:
    """Said before anything else where the federation's rounds brought nothing."""
    if not kept_untrained(summary):
        return ""
    rounds = sum(one["stage"] not in {"scores", "refit"} for one in summary["rounds"])
    return (
        f"Nothing was won by averaging: validation kept {first_model(summary)}, not one of the "
        f"{rounds} rounds'; what follows compares what each market learned by itself. "
    )


def remarks(summary: Summary, metric: str) -> list[str]:
    """What somebody should know before believing the answer."""
    figures, markets = common_means(summary, metric)
    method, found = headline_method(summary, metric), []
    if method is not None:
        found += [
            f"Better than {method_words(method)}: {method_words(name)}, {figures[name]:.4f}."
            for name in figures
            if not name.startswith("pooled") and better(metric, figures[name], figures[method])
        ]
        if "pooled" in figures:
            found.append(
                "With all histories in one place, which no federation may have, the same model reaches "
                f"{figures['pooled']:.4f}."
            )
    if "codebook" in summary["kept_first"] and not kept_untrained(summary):
        found.append("The rounds of the codebook won nothing: validation kept the first one.")
    if "scores" in summary["kept_first"]:
        found.append("The rounds of the model for scores won nothing: validation kept the untrained one.")
    if summary["decided_by"] is not None:
        found.append(
            f"One market decided which round's model was kept: without the validation figures of "
            f"{summary['decided_by']}, it would have been another's."
        )
    outside = {name: market["outside"] for name, market in summary["markets"].items() if market["outside"]}
    if outside:
        most = max(outside, key=lambda name: outside[name])
        found.append(
            f"Targets outside a market's catalogue (items known before the held-out rows) are misses for every method: "
            f"{outside[most]:.1%} in {most}, the most of any market."
        )
    if figures:
        found.append("One seed. Another may move these figures by more than the intervals say: they are over users.")
    if figures and len(markets) < len(summary["markets"]):
        missing = sorted(set(summary["markets"]) - set(markets))
        found.append(f"Means leave out {', '.join(missing)}, where not every method has a figure.")
    found += [f"Missing: {one['market']}, {one['action']}: {one['reason']}." for one in summary["failed"]]
    return found


def best(figures: Mapping[str, float], metric: str) -> str:
    """The method with the best figure."""
    return (min if lower_is_better(metric) else max)(figures, key=lambda name: figures[name])


def _change(value: float, other: float) -> str:
    return f"{value / other - 1:+.1%}" if other else f"{value - other:+.4f}"
