"""docs/results/newcomers.md: markets that come later, markets that begin, and rows that come later."""

import statistics

from commands import (
    METHODS,
    NEWCOMERS,
    NEWCOMERS_CODES,
    NEWCOMERS_RANKER,
    WARM_START,
)
from results import Row

from tables.figures import HEADLINE, markdown, mean, rows_of, select, values, with_interval, with_spread
from tables.table import Table

WARM_FIGURES = ("first_validation", "federated", "local", "gain")
SHOWN = ("popularity", "ease", "local", "federated")
KNOWN = ("0.05", "0.2", "1.0")
SHARES = {f"{float(share):.0%}": share for share in ("0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1.0")}
NOBODY = "0"  # users of a row whose share left none to train, choose and test on
SIZES = {
    "ranker": "newcomers_xmarket_ranker",
    "FeCoSR-style": "newcomers",
    "codes, inside from the start": "newcomers_xmarket_codes",
}


def newcomers() -> str:
    """A market that never took part, by share of its users known; beside it the market inside the federation."""
    lines = [["market", "users known", "popularity", "ease", "local", "adapted", "adapted − local"]]
    rows = rows_of("newcomers")
    for market in sorted({row["market"] for row in rows}):
        own = [row for row in rows if row["market"] == market]
        for share in KNOWN:
            same = [row for row in own if row["share"] == share]
            figures = [with_spread([float(row[name]) for row in same]) for name in SHOWN]
            gain = mean([float(row["gain_mean"]) for row in same])
            lines.append([market, f"{float(share):.0%}", *figures, f"{gain:+.4f}"])
        inside = select("xmarket_methods", protocol="family", lam=HEADLINE, market=market)
        figures = [with_spread(values(inside, market, name)) for name in SHOWN]
        gain = mean(values(inside, market, "federated")) - mean(values(inside, market, "local"))
        lines.append([market, "100%, federated", *figures, f"{gain:+.4f}"])
    return markdown(lines)


def market_size() -> str:
    """What a market that begins gains from a federation it never was in, by recipe and share of its users known."""
    lines = [["recipe", "market", "figure", *SHARES]]
    for recipe, table in SIZES.items():
        rows = [row for row in rows_of(table) if row["users"] != NOBODY]
        for market in dict.fromkeys(row["market"] for row in rows):
            own = [[row for row in rows if (row["market"], row["share"]) == (market, one)] for one in SHARES.values()]
            for name, words in (("popularity", "popularity"), ("local", "local"), ("federated", "federated")):
                figures = (with_spread([float(row[name]) for row in seeds]) if seeds else "" for seeds in own)
                lines.append([recipe, market, words, *figures])
            lines.append([recipe, market, "federated − local", *map(_gain, own)])
    return markdown(lines)


def _gain(seeds: list[Row]) -> str:
    """With the interval of one seed over its test users; of several, bold where that of each excludes zero."""
    if len(seeds) < 2:
        return "".join(with_interval({part: row[f"gain_{part}"] for part in ("mean", "low", "high")}) for row in seeds)
    text = f"{mean([float(row['gain_mean']) for row in seeds]):+.4f}"
    text += f" ± {statistics.stdev(float(row['gain_mean']) for row in seeds):.4f}"
    return f"**{text}**" if all(float(row["gain_low"]) > 0 for row in seeds) else text


def warm_start() -> str:
    """All rows, begun with an untrained model and with the one of the older rows."""
    lines = [["the rounds begin with", "validation of that", "best round", "rounds", "federated", "local", "gain"]]
    for begin, words in (("cold", "the untrained model"), ("warm", "the model of the older rows")):
        rows = [row for row in rows_of("warm_start") if row["begin"] == begin]
        figures = {name: with_spread([float(row[name]) for row in rows]) for name in WARM_FIGURES}
        counts = [", ".join(row[name] for row in rows) for name in ("best_round", "rounds")]
        lines.append(
            [words, figures["first_validation"], *counts, figures["federated"], figures["local"], figures["gain"]]
        )
    return markdown(lines)


TABLES = (
    Table("newcomers", "docs/results/newcomers.md", newcomers, (NEWCOMERS, METHODS)),
    Table(
        "market-size",
        "docs/results/newcomers.md",
        market_size,
        (NEWCOMERS, NEWCOMERS_RANKER, NEWCOMERS_CODES),
    ),
    Table("warm-start", "docs/results/newcomers.md", warm_start, (WARM_START,)),
)
