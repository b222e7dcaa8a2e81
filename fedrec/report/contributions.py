"""What each market has of a federation, and what the others have of it: a table, a figure, and a page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
import polars.selectors as cs
from matplotlib.figure import Figure as Canvas

from fedrec.files import reading, write_atomic
from fedrec.report.figures import BLUE, INK, ORANGE, QUIET, Cell, Figure, write_figures
from fedrec.report.html import page

CSV, PAGE = "contributions.csv", "index.html"
MEAN = "mean"
_ROW = 0.32  # inches


@dataclass(frozen=True)
class Effect:
    """By how much one market's users are served better with the others (``without`` None), or with one of them.

    ``market`` is ``mean`` for the mean of all markets that are compared.
    """

    without: str | None
    market: str
    mean: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def write_contributions(out: Path, recipe: str, seeds: int, effects: Sequence[Effect]) -> Path:
    """Write ``contributions.csv``, the figure and ``index.html``; returns the page."""
    write_table(out, effects)
    figure = contributions_figure(effects)
    write_figures(out / "figures", [figure])
    header, rows = table(effects)
    text = page(
        "contributions",
        recipe=recipe,
        seeds=seeds,
        sentences=sentences(effects),
        figure_of=figure,
        table_header=header,
        table_rows=rows,
    )
    write_atomic(out / PAGE, text.encode())
    return out / PAGE


def write_table(folder: Path, effects: Sequence[Effect]) -> None:
    """Write ``contributions.csv``."""
    frame = pl.DataFrame([asdict(effect) for effect in effects]).with_columns(cs.float().round(6))
    write_atomic(folder / CSV, frame.write_csv().encode())


def read_table(folder: Path) -> list[Effect]:
    """What :func:`write_table` wrote; empty where it did not. Raises :class:`UserError` for another file."""
    if not (folder / CSV).is_file():
        return []
    texts = {"without": pl.String, "market": pl.String}
    with reading(folder / CSV):
        frame = pl.read_csv(folder / CSV, schema_overrides=texts)
        return [Effect(**row) for row in frame.iter_rows(named=True)]


def gets(effects: Sequence[Effect]) -> dict[str, Effect]:
    """By market, what it has of the others: federated minus local."""
    return {one.market: one for one in effects if one.without is None and one.market != MEAN}


def gives(effects: Sequence[Effect]) -> dict[str, Effect]:
    """By market, what the others lose in the mean where it is not there."""
    return {one.without: one for one in effects if one.without is not None and one.market == MEAN}


def sentences(effects: Sequence[Effect]) -> list[str]:
    """One a market: whether to join, and whether to let in."""
    given = gives(effects)
    return [
        f"{market} {_verb(one, 'gains', 'loses')} {_figure(one)} by taking part; without it the others "
        f"{_verb(given[market], 'lose', 'gain')} {_figure(given[market])} in the mean."
        for market, one in gets(effects).items()
    ]


def table(effects: Sequence[Effect]) -> tuple[list[str], list[list[str]]]:
    """What every market (a column) loses where another (a line) is not there; first, what it has of all."""
    markets = list(gets(effects))
    found = {(one.without, one.market): one for one in effects}
    header = ["without", *markets, MEAN]
    rows = []
    for without in [None, *markets]:
        cells = [found.get((without, market)) for market in (*markets, MEAN)]
        rows.append(
            [
                "all others" if without is None else without,
                *("" if one is None else f"{one.mean:+.4f}{' *' if one.certain else ''}" for one in cells),
            ]
        )
    return header, rows


def contributions_figure(effects: Sequence[Effect]) -> Figure:
    """What each market gets and gives, with intervals."""
    got, given = gets(effects), gives(effects)
    markets = list(got)
    rows: list[list[Cell]] = [
        [market, what, one.mean, one.low, one.high]
        for market in markets
        for what, one in (("gets", got[market]), ("gives", given[market]))
    ]

    def draw(canvas: Canvas) -> None:
        axis = canvas.subplots()
        for offset, colour, marker, label, those in (
            (-0.14, BLUE, "o", "gets from the others", got),
            (0.14, ORANGE, "s", "gives the others, in the mean", given),
        ):
            places = np.arange(len(markets)) + offset
            means = np.array([those[market].mean for market in markets])
            bounds = np.array([[those[m].mean - those[m].low, those[m].high - those[m].mean] for m in markets]).T
            axis.errorbar(
                means, places, xerr=np.maximum(bounds, 0), fmt=marker, color=colour, markersize=4, label=label
            )
        axis.axvline(0, color=QUIET, linewidth=0.8)
        axis.set_yticks(np.arange(len(markets)), markets, color=INK)
        axis.invert_yaxis()
        axis.set_xlabel("NDCG@10")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    return Figure(
        "contributions",
        "What each market gets and gives",
        " ".join(sentences(effects)),
        ["market", "what", "mean", "low", "high"],
        rows,
        draw,
        height=1.2 + 2 * _ROW * len(markets),
        note="Paired per user, 95 % bootstrap intervals over users, and over seeds where there are several.",
    )


def _verb(effect: Effect, above: str, below: str) -> str:
    return below if effect.mean < 0 else above


def _figure(effect: Effect) -> str:
    low, high = (-effect.high, -effect.low) if effect.mean < 0 else (effect.low, effect.high)
    doubt = "" if effect.certain else ", which may be chance"
    return f"{abs(effect.mean):.4f} NDCG@10 ({low:+.4f} to {high:+.4f}{doubt})"
