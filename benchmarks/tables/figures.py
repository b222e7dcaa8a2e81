"""Rows by what they say, means over them, and how figures are written."""

import statistics
from collections.abc import Sequence

from results import Row, read_rows

from fedrec.report.table3 import MARKETS
from fedrec.report.tables import METHODS

HEADLINE = "0.3"  # the recipe's loss.lam
PAIRS = (
    ("federated", "local"),
    ("federated", "pooled"),
    ("federated", "fedease"),
    ("federated", "ease"),
    ("federated", "popularity"),
    ("fedease", "ease"),
)


class MissingRowsError(Exception):
    """A table cannot be made yet: some of its rows are not measured."""


class Found(dict[tuple[str, ...], Row]):
    """Rows by their values in some columns; one that is not there is a missing measurement."""

    def __missing__(self, key: tuple[str, ...]) -> Row:
        raise MissingRowsError(f"no row for {', '.join(key)}")


def rows_of(name: str) -> list[Row]:
    """All rows of a file; raises :class:`MissingRowsError` where there are none."""
    rows = read_rows(name)
    if not rows:
        raise MissingRowsError(f"no rows of {name}")
    return rows


def select(name: str, **wanted: str) -> list[Row]:
    """The rows with these values; raises :class:`MissingRowsError` where there are none."""
    rows = [row for row in rows_of(name) if all(row[column] == value for column, value in wanted.items())]
    if not rows:
        raise MissingRowsError(f"no rows of {name} with {', '.join(wanted.values())}")
    return rows


def by(rows: Sequence[Row], *columns: str) -> Found:
    """Rows by their values in these columns."""
    return Found({tuple(row[column] for column in columns): row for row in rows})


def mean(figures: Sequence[float]) -> float:
    """The mean; raises :class:`MissingRowsError` for none."""
    if not figures:
        raise MissingRowsError("a figure has no rows")
    return statistics.fmean(figures)


def values(rows: Sequence[Row], market: str, method: str) -> list[float]:
    """NDCG@10 of a method in a market, seed by seed."""
    return [float(row["ndcg@10"]) for row in rows if row["market"] == market and row["method"] == method]


def per_seed_means(rows: Sequence[Row], method: str) -> list[float]:
    """Mean of a method over markets, seed by seed."""
    return [
        mean([float(row["ndcg@10"]) for row in rows if row["seed"] == seed and row["method"] == method])
        for seed in sorted({row["seed"] for row in rows})
    ]


def results(rows: Sequence[Row], markets: Sequence[str] = MARKETS) -> str:
    """NDCG@10 per method and market, mean over seeds; the mean carries the spread over seeds."""
    return markdown([["", *markets, "**mean**"], *result_lines(rows, METHODS, markets)])


def result_lines(rows: Sequence[Row], methods: Sequence[str], markets: Sequence[str] = MARKETS) -> list[list[str]]:
    """One line of :func:`results` for each method that was measured."""
    measured = {row["method"] for row in rows}
    return [
        [
            label(method),
            *(f"{mean(values(rows, market, method)):.4f}" for market in markets),
            with_spread(per_seed_means(rows, method)),
        ]
        for method in methods
        if method in measured
    ]


def differences(
    name: str,
    protocol: str,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    markets: Sequence[str] = MARKETS,
    lam: str = HEADLINE,
) -> str:
    """Mean differences per market with 95 % intervals over users and seeds; bold where the interval excludes zero."""
    rows = by(select(f"{name}_intervals", protocol=protocol, lam=lam), "market", "method", "other")
    lines = [["", *markets]]
    for pair in pairs:
        if (markets[0], *pair) in rows:
            cells = [with_interval(rows[market, *pair]) for market in markets]
            lines.append([" − ".join(map(label, pair)), *cells])
    return markdown(lines)


def as_measured(name: str) -> str:
    """Rows as they are, without the commit."""
    rows = rows_of(name)
    header = [column for column in rows[0] if column != "commit"]
    lines = [[row[column] for column in header] for row in rows]
    return markdown([[label(column) for column in header], *lines])


def label(name: str) -> str:
    """A method or column as it is written in a table."""
    return name.replace("_without_prior", " (no prior)").replace("_", " ")


def with_interval(row: Row) -> str:
    """A difference and its interval; bold where the interval excludes zero."""
    figure, low, high = (float(row[part]) for part in ("mean", "low", "high"))
    text = f"{figure:+.4f} [{low:+.3f}, {high:+.3f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def with_spread(figures: Sequence[float]) -> str:
    """A mean, and where there are several seeds their standard deviation."""
    spread = f" ± {statistics.stdev(figures):.4f}" if len(figures) > 1 else ""
    return f"{mean(figures):.4f}{spread}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its header; numbers stand to the right."""
    header, *rows = lines
    rule = ["-" if not column else "-:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *rows])
