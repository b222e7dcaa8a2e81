"""A comparison as tables, and as a page with figures."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure as Canvas

from fedrec.files import write_atomic
from fedrec.report.comparison import MEAN, Comparison, Difference
from fedrec.report.figures import QUIET, Cell, Figure, csv_text, look, write_figures
from fedrec.report.html import page
from fedrec.report.tables import Row
from fedrec.report.words import lower_is_better, method_words

HOW = (
    "p: paired t-test on users, their differences averaged over common seeds (of auc, gauc and logloss, on each user's "
    "part of the figure); of the mean, on markets. adjusted: by Holm, over all lines. Both speak of other users and "
    "markets, not of other seeds; n is what was paired."
)


def results_lines(comparison: Comparison) -> tuple[Row, list[Row]]:
    """One line an entry: every market, their mean, its spread over seeds, and what it cost."""
    private = any(entry.epsilon is not None for entry in comparison.entries)
    costs = ["rounds", "MB up", "seconds", *(["epsilon"] if private else [])]
    header = ["recipe", "method", "seeds", *comparison.markets, MEAN, "± sd", *costs]
    rows: list[Row] = []
    for entry in comparison.entries:
        spread = entry.spread(comparison.metric)
        rows.append(
            [
                entry.label,
                method_words(entry.method),
                ",".join(map(str, sorted(entry.runs))),
                *(_figure(entry.average(name, comparison.metric)) for name in [*comparison.markets, MEAN]),
                "" if spread is None else f"{spread:.4f}",
                f"{entry.cost('rounds'):.0f}",
                f"{entry.cost('megabytes'):.2f}",
                f"{entry.cost('seconds'):.0f}",
                *([f"{entry.epsilon:.3g}" if entry.epsilon is not None else ""] if private else []),
            ]
        )
    return header, rows


def difference_lines(comparison: Comparison) -> tuple[Row, list[Row]]:
    """One line a pair and market: the difference, its p-value, and that adjusted."""
    header = ["better in the mean", "minus", "market", "n", "difference", "p", "adjusted"]
    rows: list[Row] = [
        [
            one.first,
            one.second,
            one.market,
            "" if one.market != MEAN and math.isnan(one.p) else str(one.count),
            f"{one.mean:+.4f}{'*' if one.significant else ''}",
            _p(one.p),
            _p(one.adjusted),
        ]
        for one in comparison.differences
    ]
    return header, rows


def key_lines(comparison: Comparison) -> tuple[Row, list[Row]]:
    """One line a recipe key that differs."""
    return (
        ["key", *(entry.label for entry in comparison.entries)],
        [[key, *values] for key, values in comparison.differing.items()],
    )


def answer(comparison: Comparison) -> str:
    """Which entry is best, and how sure that is."""
    first, *others = comparison.entries
    metric = comparison.metric
    value = first.average(MEAN, metric) or 0.0
    seeds = len(first.runs)
    words = f"{first.label} ({method_words(first.method)}) has the best mean {metric.upper()}, {value:.4f}"
    words += f" over {seeds} seeds." if seeds > 1 else " with one seed."
    for other in others:
        found = [one for one in comparison.differences if (one.first, one.second) == (first.label, other.label)]
        own = [one for one in found if one.market != MEAN and not math.isnan(one.p)]
        sign = -1 if lower_is_better(metric) else 1
        better = [one.market for one in own if one.significant and sign * one.mean > 0]
        worse = [one.market for one in own if one.significant and sign * one.mean < 0]
        if found and not own:
            words += (
                f" Against {other.label} ({other.average(MEAN, metric) or 0.0:.4f}) no market was tested: "
                "the figures of single users are not here."
            )
        elif found:
            words += (
                f" Against {other.label} ({other.average(MEAN, metric) or 0.0:.4f}) it is significantly better in "
                f"{', '.join(better) or 'no market'} and significantly worse in {', '.join(worse) or 'none'}."
            )
    if len(comparison.shared) < len(comparison.markets):
        words += f" Means are over {', '.join(comparison.shared)}: of the other markets not every run has figures."
    return words


def write_comparison(out: Path, comparison: Comparison) -> Path:
    """Write ``index.html``, ``comparison.csv``, ``differences.csv`` and figures; returns the page."""
    quality, cost = quality_figure(comparison), cost_figure(comparison)
    write_figures(out / "figures", [quality, cost])
    runs = [run for entry in comparison.entries for run in entry.runs.values()]
    first = runs[0].summary
    tables = {
        name: dict(zip(("header", "rows"), lines, strict=True)) | {"caption": caption}
        for name, lines, caption in (
            ("results", results_lines(comparison), f"{comparison.metric.upper()}, means over seeds"),
            ("differences", difference_lines(comparison), "Differences; * where the adjusted p-value is below .05"),
            ("keys", key_lines(comparison), ""),
        )
    }
    text = page(
        "compare",
        count=len(runs),
        subtitle=f"{first['dataset']}, {len(comparison.markets)} markets, protocol {first['protocol']}",
        answer=answer(comparison),
        quality=quality,
        cost=cost,
        how=HOW,
        paths=[str(run.path) for run in runs],
        **tables,
    )
    write_atomic(out / "comparison.csv", csv_text(*_values(comparison)).encode())
    write_atomic(out / "differences.csv", csv_text(*_tests(comparison.differences)).encode())
    write_atomic(out / "index.html", text.encode())
    return out / "index.html"


def quality_figure(comparison: Comparison) -> Figure:
    """Every entry in every market: a small mark a seed, a large one for their mean."""
    places = [*comparison.markets, MEAN]
    header, rows = _values(comparison)
    metric = comparison.metric

    def draw(canvas: Canvas) -> None:
        axis = canvas.subplots()
        count = len(comparison.entries)
        for number, entry in enumerate(comparison.entries):
            colour, marker = look(number)
            shift = 0.5 * (number / max(count - 1, 1) - 0.5)
            for place, market in enumerate(places):
                values = entry.values(market, metric)
                axis.plot(values, [place + shift] * len(values), marker, color=colour, markersize=2.5, alpha=0.5)
                if values:
                    label = entry.label if place == len(places) - 1 else None
                    axis.plot([fmean(values)], [place + shift], marker, color=colour, markersize=6, label=label)
        axis.set_yticks(range(len(places)), places)
        axis.set_ylim(len(places) - 0.4, -0.6)
        axis.grid(axis="x", color=QUIET, linewidth=0.3, alpha=0.5)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel(metric.upper())
        canvas.legend(loc="outside upper left", ncols=1 if count < 4 else 2)

    listed = ", ".join(f"{entry.label} {entry.average(MEAN, metric) or 0:.4f}" for entry in comparison.entries)
    return Figure(
        "quality",
        f"{metric.upper()} per market",
        f"Means over markets and seeds, best first: {listed}.",
        header,
        rows,
        draw,
        height=1.2 + 0.22 * len(comparison.entries) + 0.42 * len(places),
        note="Small marks: single seeds. Large ones: their mean.",
    )


def cost_figure(comparison: Comparison) -> Figure:
    """The mean over markets against what left them, and against time."""
    metric = comparison.metric
    rows: list[list[Cell]] = [
        [entry.label, entry.average(MEAN, metric), entry.cost("megabytes"), entry.cost("seconds")]
        for entry in comparison.entries
    ]

    def draw(canvas: Canvas) -> None:
        for axis, column, label in zip(
            canvas.subplots(1, 2, sharey=True), (2, 3), ("MB that left the markets", "seconds"), strict=True
        ):
            for number, row in enumerate(rows):
                colour, marker = look(number)
                axis.plot([float(row[column] or 0)], [float(row[1] or 0)], marker, color=colour, label=row[0])
            axis.set_xlabel(label)
            axis.set_xlim(left=0, right=1.1 * max([float(row[column] or 0) for row in rows] + [1e-9]))
            axis.grid(color=QUIET, linewidth=0.3, alpha=0.5)
        canvas.axes[0].set_ylabel(metric.upper())

    told = "; ".join(f"{label}: {up or 0:.1f} MB, {seconds or 0:.0f} s" for label, _, up, seconds in rows)
    return Figure(
        "cost",
        "Cost beside quality",
        f"{told}.",
        ["entry", f"mean_{metric}", "megabytes_up", "seconds"],
        rows,
        draw,
        height=2.8,
        note="Marks as in the figure of quality.",
    )


def _values(comparison: Comparison) -> tuple[list[str], list[list[Cell]]]:
    """Every figure, one line an entry, seed and market."""
    rows: list[list[Cell]] = [
        [entry.label, entry.method, seed, market, entry.value(market, comparison.metric, seed)]
        for entry in comparison.entries
        for seed in sorted(entry.runs)
        for market in [*comparison.markets, MEAN]
    ]
    return ["entry", "method", "seed", "market", comparison.metric], rows


def _tests(differences: Sequence[Difference]) -> tuple[list[str], list[list[Cell]]]:
    header = ["first", "second", "market", "count", "difference", "p", "adjusted"]
    return header, [
        [d.first, d.second, d.market, d.count, d.mean, _known(d.p), _known(d.adjusted)] for d in differences
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _p(value: float) -> str:
    return "" if math.isnan(value) else "<.001" if value < 0.001 else f"{value:.3f}"
