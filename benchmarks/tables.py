"""Fill the tables of docs/results.md from the rows of benchmarks/results/*.csv.

    python benchmarks/tables.py

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; everything between is replaced.
"""

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from results import read_rows

from fedrec.report.table3 import MARKETS, published, table3_lines
from fedrec.report.tables import METHODS

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
RETAIL = ("dach", "north", "south", "united-kingdom", "west")
PAIRS = (
    ("federated", "local"),
    ("federated", "pooled"),
    ("federated", "fedease"),
    ("federated", "ease"),
    ("federated", "popularity"),
    ("fedease", "ease"),
)
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


def results(rows: list[Row], methods: Sequence[str] = METHODS, markets: Sequence[str] = MARKETS) -> str:
    """NDCG@10 per method and market, mean over seeds; the mean carries the spread over seeds."""
    return markdown([["", *markets, "**mean**"], *lines_of(rows, methods, markets)])


def lines_of(rows: list[Row], methods: Sequence[str], markets: Sequence[str] = MARKETS) -> list[list[str]]:
    """One line of :func:`results` a method that was measured."""
    measured = {row["method"] for row in rows}
    return [
        [
            method.replace("_", " "),
            *(f"{mean(values(rows, market, method)):.4f}" for market in markets),
            with_spread(per_seed_means(rows, method)),
        ]
        for method in methods
        if method in measured
    ]


def differences(
    table: str,
    protocol: str,
    pairs: Sequence[tuple[str, str]],
    markets: Sequence[str] = MARKETS,
    lam: str = HEADLINE,
) -> str:
    """Mean differences per market with 95 % intervals over users and seeds; bold where the interval excludes zero."""
    rows = {
        (row["market"], row["method"], row["other"]): row
        for row in read_rows(f"{table}_intervals")
        if (row["protocol"], row["lam"]) == (protocol, lam)
    }
    lines = [["", *markets]]
    for method, other in pairs:
        if (markets[0], method, other) not in rows:
            continue
        cells = []
        for market in markets:
            cells.append(with_interval(rows[market, method, other]))
        lines.append([f"{method} − {other}", *cells])
    return markdown(lines)


def acmr() -> str:
    """The legacy protocol beside the published model."""
    figures = published("ndcg@10")
    theirs = [figures["ACMR", market] for market in MARKETS]
    lines = [
        ["", *MARKETS, "**mean**"],
        ["ACMR, published", *(f"{figure:.4f}" for figure in theirs), f"{mean(theirs):.4f}"],
    ]
    trained, counted = (select(f"xmarket_{name}", "acmr", HEADLINE) for name in ("acmr", "fedease"))
    fedease = [row for row in counted if row["method"].startswith("fedease")]
    return markdown([*lines, *lines_of([*trained, *fedease], METHODS)])


def sensitivity() -> str:
    """One seed: what changes with the order of ties, and with what is held out."""
    lines = [["", "protocol", "federated", "local", "ease", "popularity", "federated − local"]]
    for words, table in (
        ("as above", "xmarket_methods"),
        ("ties in random order", "xmarket_ties"),
        ("last item alone in time", "xmarket_untied"),
        ("last day as a basket", "xmarket_basket"),
    ):
        for protocol in ("family", "temporal"):
            rows = [row for row in select(table, protocol, HEADLINE) if row["seed"] == "0"]
            if rows:
                means = [mean(per_seed_means(rows, name)) for name in ("federated", "local", "ease", "popularity")]
                figures = [f"{figure:.4f}" for figure in means]
                lines.append([words, protocol, *figures, f"{means[0] - means[1]:+.4f}"])
    return markdown(lines)


def newcomers() -> str:
    """A market that never took part, by share of its users known; beside it the market inside the federation."""
    lines = [["market", "users known", "popularity", "ease", "local", "adapted", "adapted − local"]]
    rows = read_rows("newcomers")
    for market in sorted({row["market"] for row in rows}):
        own = [row for row in rows if row["market"] == market]
        for share in sorted({row["share"] for row in own}, key=float):
            same = [row for row in own if row["share"] == share]
            figures = [
                with_spread([float(row[name]) for row in same]) for name in ("popularity", "ease", "local", "federated")
            ]
            gain = mean([float(row["gain_mean"]) for row in same])
            lines.append([market, f"{float(share):.0%}", *figures, f"{gain:+.4f}"])
        inside = [row for row in select("xmarket_methods", "family", HEADLINE) if row["market"] == market]
        figures = [with_spread(values(inside, market, name)) for name in ("popularity", "ease", "local", "federated")]
        gain = mean(values(inside, market, "federated")) - mean(values(inside, market, "local"))
        lines.append([market, "100%, federated", *figures, f"{gain:+.4f}"])
    return markdown(lines)


def retail_differences(variant: str) -> str:
    """Federated minus local and EASE under either loss."""
    pairs = (("federated", "local"), ("federated", "ease"))
    tables = {
        words: differences(f"retail_{variant}", "temporal", pairs, RETAIL, lam).splitlines()
        for lam, words in (("0.3", "S2CE"), ("0.0", "CE"))
    }
    header = tables["S2CE"][:2]
    return "\n".join([*header, *(f"| {words}: {line[2:]}" for words, lines in tables.items() for line in lines[2:])])


def retail(variant: str) -> str:
    """Online Retail: S2CE beside cross-entropy, and the floors."""
    table = f"retail_{variant}"
    lines = [["", *RETAIL, "**mean**"]]
    for lam, words, methods in (
        ("0.3", "S2CE", ("popularity", "ease", "local_without_prior", "local", "federated_without_prior", "federated")),
        ("0.0", "CE", ("local_without_prior", "local", "federated_without_prior", "federated")),
    ):
        for line in lines_of(select(table, "temporal", lam), methods, RETAIL):
            line[0] = line[0] if line[0] in {"popularity", "ease"} else f"{line[0]}, {words}"
            lines.append(line)
    return markdown(lines)


CODES = ("nocodes", "randomcodes", "local", "federated", "pooled")


def codes_rows(variant: str, **wanted: str) -> list[Row]:
    """Rows of a table of codes with these values."""
    rows = read_rows(f"codes_{variant}")
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def codes_markets(metric: str, task: str) -> str:
    """One metric per method and market, three seeds, default backbone and alignment."""
    lines = [["", *MARKETS, "**mean**"]]
    for method in CODES:
        rows = codes_rows("main", task=task, method=method)
        cells = [mean([float(row[metric]) for row in rows if row["market"] == market]) for market in MARKETS]
        seeds = sorted({row["seed"] for row in rows})
        means = [mean([float(row[metric]) for row in rows if row["seed"] == seed]) for seed in seeds]
        lines.append([method, *(f"{cell:.4f}" for cell in cells), with_spread(means)])
    return markdown(lines)


def codes_differences(metric: str, task: str) -> str:
    """Federated minus every other method, three seeds, with intervals over users and seeds."""
    rows = [row for row in read_rows("codes_main_intervals") if (row["metric"], row["task"]) == (metric, task)]
    lines = [["", *MARKETS]]
    for other in ("local", "nocodes", "randomcodes", "pooled"):
        found = {row["market"]: row for row in rows if row["other"] == other}
        lines.append([f"federated − {other}", *(with_interval(found[market]) for market in MARKETS)])
    return markdown(lines)


def codes_grid(metric: str) -> str:
    """One seed, three markets: mean over them by backbone and alignment."""
    lines = [["backbone", "task", "nocodes", "randomcodes"]]
    alignments = ("gram", "semantic", "procrustes", "none")
    lines[0] += [f"{method}, {alignment}" for alignment in alignments for method in ("local", "federated")] + ["pooled"]
    for task in ("sampled", "ratings"):
        for backbone in ("widedeep", "deepfm", "dcnv2", "din"):
            cells = [("gram", "nocodes"), ("gram", "randomcodes")]
            cells += [(alignment, method) for alignment in alignments for method in ("local", "federated")]
            figures = []
            for alignment, method in [*cells, ("gram", "pooled")]:
                rows = codes_rows("grid", task=task, backbone=backbone, alignment=alignment, method=method)
                figures.append(f"{mean([float(row[metric]) for row in rows]):.4f}")
            lines.append([backbone, task, *figures])
    return markdown(lines)


def codes_alignments() -> str:
    """One seed, seven markets: AUC of every alignment."""
    lines = [["alignment", "codes", *MARKETS, "**mean**"]]
    for run in read_rows("codes_use_runs"):
        for method in ("local", "federated", "pooled"):
            rows = codes_rows("use", alignment=run["alignment"], method=method)
            cells = [mean([float(row["auc"]) for row in rows if row["market"] == market]) for market in MARKETS]
            lines.append([run["alignment"], method, *(f"{cell:.4f}" for cell in [*cells, mean(cells)])])
    return markdown(lines)


def codes_use() -> str:
    """What the codes of each alignment are like: one seed, seven markets, means over the markets."""
    lines = [
        [
            "alignment",
            "agreement",
            "by chance",
            "of items well known",
            "by chance",
            "purity",
            "by chance",
            "explained",
            "perplexity",
            "dead",
        ]
    ]
    uses = [row for row in read_rows("codes_use_use") if row["what"].startswith("federated.")]
    for run in read_rows("codes_use_runs"):
        figures = {
            what: mean(
                [
                    float(row["value"])
                    for row in uses
                    if row["alignment"] == run["alignment"] and row["what"] == f"federated.{what}"
                ]
            )
            for what in ("explained", "perplexity.0", "perplexity.1", "dead.0", "dead.1")
        }
        lines.append(
            [
                run["alignment"],
                *(f"{float(run[name]):.3f}" for name in ("agreement", "chance")),
                *(f"{float(run[name]):.3f}" for name in ("agreement_well_known", "chance_well_known")),
                *(f"{float(run[name]):.2f}" for name in ("purity_federated", "purity_federated_chance")),
                f"{figures['explained']:.2f}",
                f"{figures['perplexity.0']:.0f} of 64, {figures['perplexity.1']:.0f} of 32",
                f"{figures['dead.0']:.0f}, {figures['dead.1']:.0f}",
            ]
        )
    return markdown(lines)


def rows_of(name: str) -> str:
    """A table of measurements as it is, without the commit."""
    rows = read_rows(name)
    header = [key for key in rows[0] if key != "commit"]
    return markdown([header, *([row[key] for key in header] for row in rows)])


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


def pacer(recipe: str) -> str:
    """Per market: the federated model with each use of the gap, and what it brings against none."""
    rows = read_rows(f"pacer_{recipe}")
    markets = [market for market in MARKETS if market in {row["market"] for row in rows}]
    found = {(row["variant"], row["market"]): row for row in rows}
    lines = [["", *markets]]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        for name in ("gain", "brings"):
            if name == "gain" or variant != "nothing":
                cells = [with_interval(_interval(found[variant, market], name)) for market in markets]
                words = "federated − local" if name == "gain" else "brings"
                lines.append([f"{variant}: {words}", *cells])
        if variant != "nothing":
            gaps = [found[variant, market]["last_gap"] for market in markets]
            lines.append([f"{variant}: last gap, nats", *(f"{float(gap):+.3f}" if gap else "" for gap in gaps)])
    return markdown(lines)


def _interval(row: Row, name: str) -> Row:
    return {part: row[f"{name}_{part}"] for part in ("mean", "low", "high")}


def with_interval(row: Row) -> str:
    """A difference and its interval; bold where the interval excludes zero."""
    figure, low, high = (float(row[part]) for part in ("mean", "low", "high"))
    text = f"{figure:+.4f} [{low:+.3f}, {high:+.3f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def with_spread(figures: list[float]) -> str:
    spread = f" ± {statistics.stdev(figures):.4f}" if len(figures) > 1 else ""
    return f"{mean(figures):.4f}{spread}"


def privacy(name: str, figures: dict[str, str], market: str | None = None) -> str:
    """One line an epsilon: means over markets (or one market) and seeds, with the lowest and highest seed's."""
    rows = [row for row in read_rows(f"privacy_{name}") if market in {None, row["market"]}]
    lines = [["epsilon", "seeds", *figures.values()]]
    for epsilon in sorted({row["epsilon"] for row in rows}, key=float, reverse=True):
        here = [row for row in rows if row["epsilon"] == epsilon]
        cells = []
        for column in figures:
            seeds = sorted({row["seed"] for row in here if row.get(column)})
            means = [mean([float(r[column]) for r in here if r["seed"] == seed and r[column]]) for seed in seeds]
            spread = f" ({min(means):.4f}–{max(means):.4f})" if len(means) > 1 else ""
            cells.append(f"{mean(means):.4f}{spread}" if means else "")
        lines.append(["∞" if epsilon == "inf" else epsilon, str(len({row["seed"] for row in here})), *cells])
    return markdown(lines)


ACCURACY = {"federated_without_prior": "federated without prior", "federated": "federated"}
LEAKS = {
    "user_membership_auc": "user, AUC",
    "interaction_membership_auc": "interaction, AUC",
    "best_sellers_precision": "best sellers, precision@50",
    "best_sellers_by_popularity": "by popularity elsewhere",
    "user_items_recall": "items of a user, recall@10",
    "epsilon_at_least": "epsilon proved",
}
CODE_LEAKS = {
    name: text for name, text in LEAKS.items() if name not in {"interaction_membership_auc", "user_items_recall"}
}


def markdown(lines: list[list[str]]) -> str:
    header, *rows = lines
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in [header, ["-" if not i else "-:" for i in range(len(header))], *rows]
    )


def table3() -> str:
    """NDCG@10 of every model of the published table, of the floors and of ours; published and difference below."""
    header, lines = table3_lines(read_rows("table3/rows"))
    return markdown([header, *lines])


TABLES: dict[str, Callable[[], str]] = {
    "floors": floors,
    "family": lambda: results(select("xmarket_methods", "family", HEADLINE)),
    "temporal": lambda: results(select("xmarket_methods", "temporal", HEADLINE)),
    "family differences": lambda: differences("xmarket_methods", "family", PAIRS),
    "temporal differences": lambda: differences("xmarket_methods", "temporal", PAIRS),
    "acmr": acmr,
    "acmr differences": lambda: differences("xmarket_acmr", "acmr", PAIRS),
    "acmr fedease differences": lambda: differences("xmarket_fedease", "acmr", PAIRS[-1:]),
    "table 3": table3,
    "pacer fecosr": lambda: pacer("fecosr"),
    "pacer acmr": lambda: pacer("acmr"),
    "global": lambda: results(select("xmarket_global", "global-time", HEADLINE)),
    "global differences": lambda: differences("xmarket_global", "global-time", PAIRS),
    "retail item": lambda: retail("item"),
    "retail item differences": lambda: retail_differences("item"),
    "retail basket": lambda: retail("basket"),
    "retail basket differences": lambda: retail_differences("basket"),
    "sensitivity": sensitivity,
    "newcomers": newcomers,
    "codes sampled": lambda: codes_markets("auc", "sampled"),
    "codes sampled gauc": lambda: codes_markets("gauc", "sampled"),
    "codes sampled logloss": lambda: codes_markets("logloss", "sampled"),
    "codes sampled differences": lambda: codes_differences("auc", "sampled"),
    "codes ratings": lambda: codes_markets("auc", "ratings"),
    "codes ratings gauc": lambda: codes_markets("gauc", "ratings"),
    "codes ratings logloss": lambda: codes_markets("logloss", "ratings"),
    "codes ratings differences": lambda: codes_differences("auc", "ratings"),
    "codes grid": lambda: codes_grid("auc"),
    "codes grid gauc": lambda: codes_grid("gauc"),
    "codes grid logloss": lambda: codes_grid("logloss"),
    "codes alignments": codes_alignments,
    "codes use": codes_use,
    "codes recipe": lambda: results(select("xmarket_codes", "family", HEADLINE)),
    "privacy fecosr": lambda: privacy("fecosr", ACCURACY),
    "privacy fecosr in": lambda: privacy("fecosr", ACCURACY, "in"),
    "privacy fecosr ca": lambda: privacy("fecosr", ACCURACY, "ca"),
    "privacy fecosr leaks": lambda: privacy("fecosr", LEAKS),
    "privacy fedmm": lambda: privacy("fedmm", {"federated": "federated, AUC", "local": "local, AUC", **CODE_LEAKS}),
    "masks": lambda: rows_of("masks"),
    "private steps": lambda: rows_of("private_steps"),
    "losses": losses,
    "parts": parts,
    "weights": weights,
    "ridge": ridge,
    "engines": lambda: rows_of("engines"),
    "scale": lambda: rows_of("scale"),
    "deployment": lambda: rows_of("deployment"),
    "compression": lambda: rows_of("compression"),
}

if __name__ == "__main__":
    main()
