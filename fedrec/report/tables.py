"""Tables for the terminal: boxed where a person looks, one plain line a row where a pipe reads."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from fedrec.words import visible

METHODS = (
    "popularity",
    "itemknn",
    "ease",
    "fedease_without_prior",
    "fedease",
    "prior",
    "nocodes_without_prior",
    "nocodes",
    "randomcodes_without_prior",
    "randomcodes",
    "local_without_prior",
    "local",
    "shared",
    "local_shared_semantics_without_prior",
    "local_shared_semantics",
    "local_shared_statistics",
    "federated_without_prior",
    "federated",
    "pooled_without_prior",
    "pooled",
)
_FIGURES = {  # privacy.reports: what became of figures of users
    None: "figures of validation and test stand outside it",
    "withheld": "figures of users stayed in the markets (privacy.reports withheld)",
    "noised": "figures are of the shared model before anything was fitted, under noise (privacy.reports noised)",
    "outside": "figures of test stand outside it, told once and rounded (privacy.reports outside)",
}
_CATALOGUES = {  # privacy.catalogue: whose list of items was taken to be public
    "declared": "; the lists of items are public, as the operators declared them",
    "occurring": "; lists of items that may be made of users' rows were taken to be public "
    "(privacy.catalogue occurring)",
}
Row = Sequence[str]


def common_means(summary: Mapping[str, Any], metric: str) -> tuple[dict[str, float], list[str]]:
    """Mean of every method over the markets that have them all, and those markets: means to be set side by side.

    Where a stage failed in some market, ``summary["mean"]`` is over other markets for one method than for another.
    Where no market has all methods, each mean is over those that have it.
    """
    methods = [name for name in METHODS if metric in summary["mean"].get(name, {})]
    found = {market: figures["results"] for market, figures in summary["markets"].items()}
    whole = [market for market, own in found.items() if all(metric in own.get(name, {}) for name in methods)]
    if not whole:
        return {name: summary["mean"][name][metric] for name in methods}, list(found)
    return {name: fmean(found[market][name][metric] for market in whole) for name in methods}, whole


def print_table(console: Console, title: str, header: Row, rows: Sequence[Row], note: str = "") -> None:
    """Print one table. Piped output is aligned, never wrapped, cut or coloured.

    On a terminal too narrow for it, rows become columns; where that does not fit either, it is printed as when piped.
    """
    grid = [[visible(cell) for cell in row] for row in (header, *rows)]
    title, note = visible(title), visible(note)
    if console.is_terminal:
        turned = [list(column) for column in zip(*grid, strict=True)]
        for lines in (grid, turned):
            if sum(width + 3 for width in _widths(lines)) < console.width:
                console.print(_boxed(title, lines, note))
                return
    widths = _widths(grid)
    for line in [title, *(_aligned(row, widths) for row in grid), *([note] if note else [])]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def print_lines(console: Console, lines: Sequence[str]) -> None:
    """Print lines as they are, however long."""
    for line in lines:
        console.print(visible(line), highlight=False, markup=False, soft_wrap=True)


def _boxed(title: str, lines: Sequence[Row], note: str) -> Table:
    table = Table(title=title, caption=note or None, title_justify="left", caption_justify="left")
    for index, name in enumerate(lines[0]):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in lines[1:]:
        table.add_row(*row)
    return table


def _widths(lines: Sequence[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def results_table(summary: Mapping[str, Any], metric: str) -> tuple[Row, list[Row]]:
    """One row a market and their mean: every method; where both ran, the gain of federated over local."""
    means, _ = common_means(summary, metric)
    methods = list(means)
    compared = {"federated", "local"} <= set(methods)
    outside = any(figures["outside"] for figures in summary["markets"].values())
    header = ["market", "users", *(["outside"] if outside else []), *map(_short, methods)]
    header += ["gain", "interval"] if compared else []
    rows: list[Row] = []
    for market, figures in summary["markets"].items():
        values = [_figure(figures["results"].get(name, {}).get(metric)) for name in methods]
        gain = figures["gain"].get(metric)
        last = [f"{gain['mean']:+.4f}", f"{gain['low']:+.4f} … {gain['high']:+.4f}"] if gain else ["", ""]
        beyond = [f"{figures['outside']:.1%}" if figures["outside"] is not None else ""] if outside else []
        rows.append([market, str(figures["evaluated_users"]), *beyond, *values, *(last if compared else [])])
    total = [f"{means['federated'] - means['local']:+.4f}", ""] if compared else []
    rows.append(["mean", "", *([""] if outside else []), *(_figure(means[name]) for name in methods), *total])
    return header, rows


def privacy_lines(summary: Mapping[str, Any]) -> list[str]:
    """Epsilon with all that it means; nothing where nothing was noised."""
    privacy = summary["privacy"]
    if privacy["epsilon"] is None:
        return []
    replaced = privacy.get("replace_one")
    sizes = ""
    if replaced is not None:
        sizes = f"{replaced['epsilon']:.3g} at {replaced['delta']:.2g} to replace one, because sizes are public; "
    return [
        f"privacy: epsilon {privacy['epsilon']:.3g} at delta {privacy['delta']:g} for a {privacy['unit']}, "
        f"{privacy['relation']}, {privacy['sampling']} sampling, by {privacy['accountant'].upper()}; "
        f"{sizes}{_FIGURES[privacy.get('reports')]}"
        f"{_CATALOGUES.get(privacy.get('catalogue'), '')}"
        + (
            "; what the earlier run spent, whose model this one began with, adds to it"
            * bool(summary.get("warm_start"))
        )
    ]


def differences_table(summary: Mapping[str, Any], method: str, metric: str) -> tuple[Row, list[Row]]:
    """One row a market: ``method`` minus each other method, with its interval; no rows where it was not compared."""
    markets = {name: figures["differences"].get(method, {}) for name, figures in summary["markets"].items()}
    others = [name for name in METHODS if any(metric in found.get(name, {}) for found in markets.values())]
    rows: list[Row] = [
        [market, *(_difference(found.get(name, {}).get(metric)) for name in others)]
        for market, found in markets.items()
        if others
    ]
    return ["market", *map(_short, others)], rows


def _difference(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return ""
    sure = "*" if interval["low"] > 0 or interval["high"] < 0 else " "
    return f"{interval['mean']:+.4f}{sure} [{interval['low']:+.4f}, {interval['high']:+.4f}]"


def _short(method: str) -> str:
    return method.replace("_shared_semantics", "+semantics").replace("_without_prior", " (no prior)")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _aligned(row: Row, widths: Sequence[int]) -> str:
    first, *rest = row
    cells = [
        first.ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)),
    ]
    return "  ".join(cells).rstrip()
