"""Fill the tables of docs/results.md from the rows of benchmarks/results/*.csv.

    python benchmarks/tables.py

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; everything between is replaced.
"""

import re
import statistics
from collections.abc import Callable
from pathlib import Path

from results import read_rows

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
MARKETS = ("de", "jp", "in", "fr", "ca", "mx", "uk")
METHODS = ("popularity", "ease", "prior", "local_without_prior", "local", "federated_without_prior", "federated")
HEADLINE = "0.3"
Row = dict[str, str]


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        pattern = rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda match, t=table: match[1] + t() + "\n" + match[2], text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"{PAGE}: {count} places for table {name!r}, expected 1")
    PAGE.write_text(text, encoding="utf-8")


def results(protocol: str) -> str:
    """NDCG@10 per market and method, mean over seeds; the mean row carries the spread over seeds."""
    rows = select("xmarket", protocol, HEADLINE)
    lines = [["market", *METHODS]]
    for market in MARKETS:
        lines.append([market, *(f"{mean(values(rows, market, method)):.4f}" for method in METHODS)])
    lines.append(["**mean**", *(with_spread(per_seed_means(rows, method)) for method in METHODS)])
    return markdown(lines)


def gains(protocol: str) -> str:
    """Federated minus local per market: mean over seeds, and the widest of the seeds' 95 % intervals."""
    rows = [row for row in select("xmarket_gains", protocol, HEADLINE) if row["metric"] == "ndcg@10"]
    lines = [["market", "gain (mean over seeds)", "per seed", "95 % interval per seed"]]
    for market in MARKETS:
        own = sorted((row for row in rows if row["market"] == market), key=lambda row: row["seed"])
        lines.append(
            [
                market,
                f"{mean([float(row['mean']) for row in own]):+.4f}",
                ", ".join(f"{float(row['mean']):+.4f}" for row in own),
                ", ".join(f"[{float(row['low']):+.3f}, {float(row['high']):+.3f}]" for row in own),
            ]
        )
    return markdown(lines)


def losses() -> str:
    """S2CE beside cross-entropy: means over markets, spread over seeds, drift and cost."""
    lines = [["protocol", "lam", "seeds", "federated", "without prior", "local", "gain", "cosine", "rounds", "seconds"]]
    for protocol in ("family", "temporal"):
        for lam in sorted({row["lam"] for row in read_rows("xmarket_runs") if row["protocol"] == protocol}):
            rows, runs = select("xmarket", protocol, lam), select("xmarket_runs", protocol, lam)
            federated, bare, local = (
                per_seed_means(rows, method) for method in ("federated", "federated_without_prior", "local")
            )
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


def floors() -> str:
    """Popularity and plain EASE at fixed lambda."""
    rows = read_rows("floors")
    lines = [["", *MARKETS, "**mean**"]]
    for protocol, lam in (("family", 100), ("temporal", 10)):
        for method, name in (("popularity", "popularity"), ("ease", f"EASE, lambda {lam}")):
            own = [row for row in rows if row["protocol"] == protocol]
            figures = [mean(values(own, market, method)) for market in MARKETS]
            lines.append([f"{protocol}: {name}", *(f"{figure:.4f}" for figure in (*figures, mean(figures)))])
    return markdown(lines)


def parts() -> str:
    """What the shared semantics bring alone, and what averaging adds: one seed, protocol `family`."""
    rows = read_rows("xmarket_shared_semantics")
    methods = [
        f"{name}{suffix}"
        for suffix in ("_without_prior", "")
        for name in ("local", "local_shared_semantics", "federated")
    ]
    lines = [["market", *methods]]
    for market in MARKETS:
        lines.append([market, *(f"{mean(values(rows, market, method)):.4f}" for method in methods)])
    lines.append(["**mean**", *(with_spread(per_seed_means(rows, method)) for method in methods)])
    return markdown(lines)


def weights() -> str:
    """Averaging weights on one seed, protocol `family`: means over markets and the smallest market."""
    lines = [["weights", "federated", "without prior", "in, without prior", "ca, without prior"]]
    for name, table in (("interactions", "xmarket"), ("uniform", "xmarket_uniform")):
        rows = [row for row in select(table, "family", HEADLINE) if row["seed"] == "0"]
        means = [mean(per_seed_means(rows, method)) for method in ("federated", "federated_without_prior")]
        markets = [mean(values(rows, market, "federated_without_prior")) for market in ("in", "ca")]
        lines.append([name, *(f"{figure:.4f}" for figure in (*means, *markets))])
    return markdown(lines)


def ridge() -> str:
    """Mean over markets of the cross-validated NDCG@10, by protocol and ridge."""
    rows = read_rows("ridge")
    ridges = sorted({row["ridge"] for row in rows}, key=float)
    lines = [["protocol", *(f"ridge {value}" for value in ridges)]]
    for protocol in ("family", "temporal"):
        figures = [
            mean([float(row["ndcg@10"]) for row in rows if (row["protocol"], row["ridge"]) == (protocol, value)])
            for value in ridges
        ]
        lines.append([protocol, *(f"{figure:.4f}" for figure in figures)])
    return markdown(lines)


def select(name: str, protocol: str, lam: str) -> list[Row]:
    return [row for row in read_rows(name) if row["protocol"] == protocol and row["lam"] == lam]


def seeds(rows: list[Row]) -> list[str]:
    return sorted({row["seed"] for row in rows})


def values(rows: list[Row], market: str, method: str) -> list[float]:
    return [float(row["ndcg@10"]) for row in rows if row["market"] == market and row["method"] == method]


def per_seed_means(rows: list[Row], method: str) -> list[float]:
    return [
        mean([float(row["ndcg@10"]) for row in rows if row["seed"] == seed and row["method"] == method])
        for seed in seeds(rows)
    ]


def mean(figures: list[float]) -> float:
    return statistics.fmean(figures)


def with_spread(figures: list[float]) -> str:
    spread = f" ± {statistics.stdev(figures):.4f}" if len(figures) > 1 else ""
    return f"{mean(figures):.4f}{spread}"


def markdown(lines: list[list[str]]) -> str:
    header, *rows = lines
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in [header, ["-" if not i else "-:" for i in range(len(header))], *rows]
    )


TABLES: dict[str, Callable[[], str]] = {
    "floors": floors,
    "family": lambda: results("family"),
    "temporal": lambda: results("temporal"),
    "family gains": lambda: gains("family"),
    "temporal gains": lambda: gains("temporal"),
    "losses": losses,
    "parts": parts,
    "weights": weights,
    "ridge": ridge,
}

if __name__ == "__main__":
    main()
