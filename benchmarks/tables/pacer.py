"""docs/results/pacer.md: Pacer and Runner."""

from commands import PACER_ACMR, PACER_FECOSR
from results import Row

from tables.figures import MARKETS, by, markdown, rows_of, with_interval
from tables.table import Table

BARE = "nothing"  # the variant without a pacer


def pacer(recipe: str) -> str:
    """Per market: the federated model with each use of the gap, against the local baseline and against no pacer."""
    rows = rows_of(f"pacer_{recipe}")
    markets = [market for market in MARKETS if market in {row["market"] for row in rows}]
    found = by(rows, "variant", "market")
    lines = [["", *markets]]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        name = "no pacer" if variant == BARE else variant
        gains = [with_interval(_interval(found[variant, market], "gain")) for market in markets]
        lines.append([f"{name}: federated − local", *gains])
        if variant != BARE:
            added = [with_interval(_interval(found[variant, market], "brings")) for market in markets]
            gaps = [found[variant, market]["last_gap"] for market in markets]
            lines.append([f"{name}: federated − no pacer", *added])
            lines.append([f"{name}: last gap, nats", *(f"{float(gap):+.3f}" if gap else "" for gap in gaps)])
    return markdown(lines)


def _interval(row: Row, name: str) -> Row:
    return {part: row[f"{name}_{part}"] for part in ("mean", "low", "high")}


_PAGE = "docs/results/pacer.md"
TABLES = (
    Table("pacer-fecosr", _PAGE, lambda: pacer("fecosr"), (PACER_FECOSR,)),
    Table("pacer-acmr", _PAGE, lambda: pacer("acmr"), (PACER_ACMR,)),
)
