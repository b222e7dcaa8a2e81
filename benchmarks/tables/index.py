"""docs/results/index.md, and the table of README.md: the headline figures."""

from commands import ACMR, FEDEASE, GLOBAL_TIME, METHODS
from results import Row

from tables.figures import HEADLINE, MARKETS, by, label, markdown, mean, per_seed_means, select, values, with_spread
from tables.table import Table

SHOWN = ("popularity", "ease", "fedease", "local", "federated", "pooled")
OF_README = {
    "popularity": "popularity",
    "ease": "EASE",
    "local_without_prior": "local, no prior",
    "local": "local",
    "federated_without_prior": "federated, no prior",
    "federated": "**federated**",
}


def headline() -> str:
    """Every protocol: means over the seven markets and all seeds."""
    lines = [["protocol", *map(label, SHOWN), "federated − local"]]
    rows_by_protocol = {
        "family": select("xmarket_methods", protocol="family", lam=HEADLINE),
        "temporal": select("xmarket_methods", protocol="temporal", lam=HEADLINE),
        "global-time": select("xmarket_global", protocol="global-time", lam=HEADLINE),
        "acmr": [
            *select("xmarket_acmr", protocol="acmr", lam=HEADLINE),
            *select("xmarket_fedease", protocol="acmr", lam=HEADLINE, method="fedease"),
        ],
    }
    for protocol, rows in rows_by_protocol.items():
        means = {method: mean(per_seed_means(rows, method)) for method in SHOWN if _has(rows, method)}
        cells = [f"{means[method]:.4f}" if method in means else "" for method in SHOWN]
        lines.append([protocol, *cells, f"{round(means['federated'] - means['local'], 4) + 0.0:+.4f}"])
    return markdown(lines)


def readme() -> str:
    """Market by market under `family`; the best figure of each is bold."""
    rows = select("xmarket_methods", protocol="family", lam=HEADLINE)
    gains = by(select("xmarket_methods_intervals", protocol="family", lam=HEADLINE), "market", "method", "other")
    lines = []
    for market in MARKETS:
        figures = [mean(values(rows, market, method)) for method in OF_README]
        cells = [f"**{_short(figure)}**" if figure == max(figures) else _short(figure) for figure in figures]
        lines.append([market, *cells, _short(float(gains[market, "federated", "local"]["mean"]), "+")])
    means = {method: mean(per_seed_means(rows, method)) for method in OF_README}
    cells = [_short(figure) for method, figure in means.items() if method != "federated"]
    spread = with_spread(per_seed_means(rows, "federated")).partition(" ± ")[2].removeprefix("0")
    ours = f"**{_short(means['federated'])}** ± {spread}"
    lines.append(["mean", *cells, ours, _short(means["federated"] - means["local"], "+")])
    header = ["market", *OF_README.values(), "gain"]
    return "\n".join(
        ["| " + " | ".join(header) + " |", "|-" + "|-:" * 7 + "|", *("| " + " | ".join(line) + " |" for line in lines)]
    )


def _has(rows: list[Row], method: str) -> bool:
    return any(row["method"] == method for row in rows)


def _short(figure: float, sign: str = "") -> str:
    return f"{figure:{sign}.4f}".replace("0.", ".", 1)


_PAGE = "docs/results/index.md"
TABLES = (
    Table("headline", _PAGE, headline, (METHODS, GLOBAL_TIME, ACMR, FEDEASE)),
    Table("readme", "README.md", readme, (METHODS,)),
)
