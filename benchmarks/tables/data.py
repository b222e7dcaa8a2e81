"""docs/results/data.md: baselines with nothing chosen, beside the project's reference."""

from commands import BASELINES

from tables.figures import MARKETS, markdown, mean, rows_of, values
from tables.table import Table


def baselines() -> str:
    """Popularity and plain EASE at fixed lambda."""
    rows = rows_of("baselines")
    lines = [["", *MARKETS, "**mean**"]]
    for protocol, lam in (("family", 100), ("temporal", 10)):
        for method, name in (("popularity", "popularity"), ("ease", f"EASE, lambda {lam}")):
            own = [row for row in rows if row["protocol"] == protocol]
            figures = [mean(values(own, market, method)) for market in MARKETS]
            lines.append([f"{protocol}: {name}", *(f"{figure:.4f}" for figure in (*figures, mean(figures)))])
    return markdown(lines)


TABLES = (Table("baselines", "docs/results/data.md", baselines, (BASELINES,)),)
