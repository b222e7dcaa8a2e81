"""What privacy bought and what it cost: a table, plots, and a page that says it in words."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
import polars.selectors as cs
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from fedrec.files import write_atomic
from fedrec.report.figures import BLUE, BROWN, GREY, ORANGE, QUIET, RED, Cell, Figure, write_figures
from fedrec.report.html import page

MEAN = "mean"
_BASELINES = {"local": BROWN, "ease": ORANGE, "popularity": GREY}
_FEDERATED = {"federated": "-", "federated_without_prior": "--", "fedease": "-."}
Rows = Sequence[Mapping[str, Any]]


def write_tradeoff(out: Path, recipe: str, rows: Rows, privacy: Mapping[str, Any]) -> None:
    """Write ``tradeoff.csv``, figures and ``index.html``; ``privacy`` is the latest run's, for the words it needs."""
    frame = pl.DataFrame([dict(row) for row in rows], infer_schema_length=None).with_columns(cs.float().round(6))
    write_atomic(out / "tradeoff.csv", frame.write_csv().encode())
    figures = {"tradeoff": tradeoff_figure(rows), "cost": cost_figure(rows)}
    write_figures(out / "figures", figures.values())
    header, lines = table(rows)
    text = page(
        "tradeoff",
        recipe=recipe,
        seeds=len({row["seed"] for row in rows}),
        sentences=sentences(rows),
        table_header=header,
        table_rows=lines,
        **figures,
        unit=privacy,
        metric=rows[0]["metric"],
    )
    write_atomic(out / "index.html", text.encode())


def epsilons(rows: Rows) -> list[float]:
    """Those measured, the weakest protection first."""
    return sorted({row["epsilon"] for row in rows}, reverse=True)


def markets(rows: Rows) -> list[str]:
    """The largest first."""
    return [name for _, name in sorted({(-row["users"], row["market"]) for row in rows})]


def value(rows: Rows, column: str, epsilon: float, market: str = MEAN) -> float | None:
    """Mean over seeds, and over markets for ``mean``; None where it was not measured."""
    found = [
        row[column]
        for row in rows
        if row["epsilon"] == epsilon and market in {MEAN, row["market"]} and row.get(column) is not None
    ]
    return fmean(found) if found else None


def baseline(rows: Rows, method: str, market: str = MEAN) -> float | None:
    """A method that epsilon does not touch."""
    return value(rows, method, epsilons(rows)[0], market)


def words(epsilon: float) -> str:
    """An epsilon in a sentence."""
    return f"epsilon {epsilon:g}" if math.isfinite(epsilon) else "no noise"


def sentences(rows: Rows) -> list[str]:
    """What the figures say."""
    found, points = [], epsilons(rows)
    weakest, strongest = points[0], points[-1]
    method = "federated" if value(rows, "federated", weakest) is not None else "fedease"
    metric = rows[0]["metric"].upper()
    start = value(rows, method, weakest)
    for point in points[1:]:
        accuracy, attack = value(rows, method, point), value(rows, "user_membership_auc", point)
        if start and accuracy is not None:
            found.append(
                f"At {words(point)}, {method} has a mean {metric} of {accuracy:.4f} against {start:.4f} at "
                f"{words(weakest)} ({accuracy / start - 1:+.1%})"
                + (f", and the strongest membership attack an AUC of {attack:.3f}." if attack is not None else ".")
            )
    before, after = (value(rows, "user_membership_auc", point) for point in (weakest, strongest))
    if before is not None and after is not None:
        found.insert(
            0,
            f"Bought: the strongest attack that tells users who took part from users who did not has an AUC of "
            f"{before:.3f} at {words(weakest)} and of {after:.3f} at {words(strongest)} (.5 is a coin).",
        )
    named = markets(rows)
    for market in dict.fromkeys((named[-1], named[0])):
        users = next(row["users"] for row in rows if row["market"] == market)
        first, last = value(rows, method, weakest, market), value(rows, method, strongest, market)
        if first and last is not None and len(points) > 1:
            size = "smallest" if market == named[-1] else "largest"
            found.append(
                f"Cost in {market}, the {size} market ({users} users): {first:.4f} at {words(weakest)}, {last:.4f} at "
                f"{words(strongest)} ({last / first - 1:+.1%})."
            )
    for name in _BASELINES:
        reached = [
            f"{market} ({words(met)})"
            for market in named
            if (bar := baseline(rows, name, market)) is not None
            and (met := _first_below(rows, method, market, bar)) is not None
        ]
        if baseline(rows, name) is not None:
            beaten = (
                f"no better than {name} from there on: {', '.join(reached)}" if reached else f"above {name} everywhere"
            )
            found.append(f"{method} is {beaten}.")
    return found


def _first_below(rows: Rows, method: str, market: str, bar: float) -> float | None:
    """The largest epsilon at which a method is no better than ``bar``."""
    for point in epsilons(rows):
        accuracy = value(rows, method, point, market)
        if accuracy is not None and accuracy <= bar:
            return point
    return None


def table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Means over markets and seeds, one line an epsilon."""
    columns = {
        **{name: name.replace("_", " ") for name in (*_FEDERATED, *_BASELINES)},
        "user_membership_auc": "membership of a user, AUC",
        "user_membership_tpr": "at 1% false alarms",
        "interaction_membership_auc": "membership of an interaction, AUC",
        "best_sellers_precision": "best sellers, precision@50",
        "user_items_recall": "items of a user, recall@10",
        "code_inversion": "items behind codes, top 1",
        "epsilon_at_least": "epsilon proved at least",
        "rounds": "rounds",
        "megabytes_up": "MB sent",
        "seconds": "seconds",
    }
    measured = [name for name in columns if any(row.get(name) is not None for row in rows)]
    lines = []
    for point in epsilons(rows):
        cells = [value(rows, name, point) for name in measured]
        lines.append([words(point), *("" if cell is None else _plain(cell) for cell in cells)])
    return ["epsilon", *(columns[name] for name in measured)], lines


def tradeoff_figure(rows: Rows) -> Figure:
    """Accuracy above, attack AUC below, a column a market and one for the mean."""
    panels = [MEAN, *markets(rows)]
    metric = rows[0]["metric"].upper()
    curves = [*_FEDERATED, *_BASELINES, "user_membership_auc", "interaction_membership_auc"]

    def draw(canvas: Canvas) -> None:
        grid = canvas.subplots(2, len(panels), squeeze=False)
        for column, market in enumerate(panels):
            top, bottom = grid[0][column], grid[1][column]
            for name, line in _FEDERATED.items():
                _curve(top, rows, name, market, BLUE, line)
            for name, colour in _BASELINES.items():
                bar = baseline(rows, name, market)
                if bar is not None:
                    top.axhline(bar, color=colour, linewidth=0.8, label=name)
            _curve(bottom, rows, "user_membership_auc", market, RED, "-", "a user")
            _curve(bottom, rows, "interaction_membership_auc", market, RED, "--", "an interaction")
            bottom.axhline(0.5, color=QUIET, linewidth=0.8)
            top.set_title(market)
            bottom.set_ylim(0.4, 1.02)
        grid[0][0].set_ylabel(metric)
        grid[1][0].set_ylabel("membership, attack AUC")
        for row in grid:
            row[-1].legend(fontsize=6)

    return Figure(
        "tradeoff",
        "Accuracy and attacks over epsilon",
        " ".join(sentences(rows)[:2]),
        ["epsilon", "market", *curves],
        [[point, name, *(value(rows, c, point, name) for c in curves)] for name in panels for point in epsilons(rows)],
        draw,
        height=4.2,
        width=2.0 * len(panels) + 1,
        note="Bars reach from the lowest to the highest seed. Baselines are measured once: no noise touches them.",
    )


def cost_figure(rows: Rows) -> Figure:
    """Bytes and time over epsilon."""
    columns = {"megabytes_up": "MB that left the markets", "seconds": "seconds of a run"}
    points = epsilons(rows)
    cells: list[list[Cell]] = [[point, *(value(rows, column, point) for column in columns)] for point in points]

    def draw(canvas: Canvas) -> None:
        for axis, (column, label) in zip(canvas.subplots(1, 2), columns.items(), strict=True):
            _curve(axis, rows, column, MEAN, BLUE, "-")
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)

    told = "; ".join(
        f"{words(point)}: {value(rows, 'megabytes_up', point):.1f} MB in {value(rows, 'seconds', point):.0f} s"
        for point in points
    )
    return Figure(
        "cost", "Bytes and time over epsilon", f"{told}.", ["epsilon", *columns], cells, draw, height=2.2, width=6
    )


def _curve(axis: Axes, rows: Rows, column: str, market: str, colour: str, line: str, label: str = "") -> None:
    """Mean over seeds, with a bar from the lowest to the highest seed."""
    points = epsilons(rows)
    means = [value(rows, column, point, market) for point in points]
    known = [(place, mean) for place, mean in enumerate(means) if mean is not None]
    if known:
        places, heights = zip(*known, strict=True)
        axis.plot(
            places, heights, line, color=colour, marker=".", markersize=4, label=label or column.replace("_", " ")
        )
        for place, _ in known:
            ends = [
                found
                for seed in {row["seed"] for row in rows}
                if (found := value([r for r in rows if r["seed"] == seed], column, points[place], market)) is not None
            ]
            axis.vlines(place, min(ends), max(ends), color=colour, linewidth=1.5, alpha=0.4)
    axis.set_xticks(range(len(points)), [f"{p:g}" if math.isfinite(p) else "∞" for p in points])
    axis.set_xlabel("epsilon")


def _plain(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.4f}"
