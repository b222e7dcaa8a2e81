"""docs/results/newcomers.md: markets that come later, and markets that begin."""

from commands import METHODS, NEWCOMERS

from tables.figures import HEADLINE, markdown, mean, rows_of, select, values, with_spread
from tables.table import Table

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


TABLES = (Table("newcomers", "docs/results/newcomers.md", newcomers, (NEWCOMERS, METHODS)),)
