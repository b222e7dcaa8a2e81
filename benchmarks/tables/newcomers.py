"""docs/results/newcomers.md: markets that come later, markets that begin, and rows that come later."""

from commands import METHODS, NEWCOMERS, WARM_START

from tables.figures import HEADLINE, markdown, mean, rows_of, select, values, with_spread
from tables.table import Table

WARM_FIGURES = ("first_validation", "federated", "local", "gain")
SHOWN = ("popularity", "ease", "local", "federated")


def newcomers() -> str:
    """A market that never took part, by share of its users known; beside it the market inside the federation."""
    lines = [["market", "users known", "popularity", "ease", "local", "adapted", "adapted − local"]]
    rows = rows_of("newcomers")
    for market in sorted({row["market"] for row in rows}):
        own = [row for row in rows if row["market"] == market]
        for share in sorted({row["share"] for row in own}, key=float):
            same = [row for row in own if row["share"] == share]
            figures = [with_spread([float(row[name]) for row in same]) for name in SHOWN]
            gain = mean([float(row["gain_mean"]) for row in same])
            lines.append([market, f"{float(share):.0%}", *figures, f"{gain:+.4f}"])
        inside = select("xmarket_methods", protocol="family", lam=HEADLINE, market=market)
        figures = [with_spread(values(inside, market, name)) for name in SHOWN]
        gain = mean(values(inside, market, "federated")) - mean(values(inside, market, "local"))
        lines.append([market, "100%, federated", *figures, f"{gain:+.4f}"])
    return markdown(lines)


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
    Table("warm-start", "docs/results/newcomers.md", warm_start, (WARM_START,)),
)
