"""docs/results/losses.md: S2CE beside cross-entropy."""

from commands import LOSSES

from tables.figures import label, markdown, mean, per_seed_means, rows_of, select, with_spread
from tables.table import Table


def losses() -> str:
    """Means over markets, spread over seeds, agreement of the updates, and cost."""
    methods = ("federated", "federated_without_prior", "local")
    lines = [["protocol", "lam", "seeds", *map(label, methods), "gain", "cosine", "rounds", "seconds"]]
    for protocol in ("family", "temporal"):
        for lam in sorted({row["lam"] for row in rows_of("xmarket_runs") if row["protocol"] == protocol}):
            rows = select("xmarket", protocol=protocol, lam=lam)
            runs = select("xmarket_runs", protocol=protocol, lam=lam)
            federated, bare, local = (per_seed_means(rows, method) for method in methods)
            lines.append(
                [
                    protocol,
                    lam,
                    str(len(runs)),
                    *(with_spread(figures) for figures in (federated, bare, local)),
                    f"{mean(federated) - mean(local):+.4f}",
                    with_spread([float(row["drift"]) for row in runs]),
                    ", ".join(row["rounds"] for row in runs),
                    f"{mean([float(row['seconds']) for row in runs]):.0f}",
                ]
            )
    return markdown(lines)


TABLES = (Table("losses", "docs/results/losses.md", losses, (LOSSES,)),)
