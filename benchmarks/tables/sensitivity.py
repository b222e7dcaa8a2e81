"""docs/results/sensitivity.md: how much our own choices decide."""

from commands import BASKET, CORRECTIONS, LOSSES, METHODS, RIDGE, TIES, UNIFORM, UNTIED

from fedrec.report.table3 import MARKETS
from tables.figures import HEADLINE, markdown, mean, per_seed_means, rows_of, select, values
from tables.table import Table

PROTOCOLS = ("family", "temporal")


def sensitivity() -> str:
    """One seed: what changes with the order of ties, and with what is held out."""
    methods = ("federated", "local", "ease", "popularity")
    lines = [["", "protocol", *methods, "federated − local"]]
    for words, table, protocols in (
        ("unchanged", "xmarket_methods", PROTOCOLS),
        ("ties in random order", "xmarket_ties", PROTOCOLS),
        ("last item alone in time", "xmarket_untied", PROTOCOLS[:1]),
        ("last day as a basket", "xmarket_basket", PROTOCOLS[:1]),
    ):
        for protocol in protocols:
            rows = select(table, protocol=protocol, lam=HEADLINE, seed="0")
            means = [mean(per_seed_means(rows, name)) for name in methods]
            lines.append([words, protocol, *(f"{figure:.4f}" for figure in means), f"{means[0] - means[1]:+.4f}"])
    return markdown(lines)


def weights() -> str:
    """Averaging weights on one seed, protocol `family`: means over markets, the smallest market and the largest."""
    lines = [["weights", "federated", "federated (no prior)", "in (no prior)", "ca (no prior)"]]
    for name, table in (("interactions", "xmarket"), ("uniform", "xmarket_uniform")):
        rows = select(table, protocol="family", lam=HEADLINE, seed="0")
        means = [mean(per_seed_means(rows, method)) for method in ("federated", "federated_without_prior")]
        markets = [mean(values(rows, market, "federated_without_prior")) for market in ("in", "ca")]
        lines.append([name, *(f"{figure:.4f}" for figure in (*means, *markets))])
    return markdown(lines)


def ridge() -> str:
    """Mean over markets of the cross-validated NDCG@10, by protocol and ridge."""
    ridges = sorted({row["ridge"] for row in rows_of("ridge")}, key=float)
    lines = [["protocol", *(f"ridge {value}" for value in ridges)]]
    for protocol in PROTOCOLS:
        rows = {value: select("ridge", protocol=protocol, ridge=value) for value in ridges}
        figures = [mean([float(row["ndcg@10"]) for row in found]) for found in rows.values()]
        lines.append([protocol, *(f"{figure:.4f}" for figure in figures)])
    return markdown(lines)


def corrections() -> str:
    """Means over the markets: either correction alone, and both."""
    methods = ("popularity", "itemknn", "ease", "fedease", "local_without_prior", "local")
    methods = (*methods, "federated_without_prior", "federated")
    names = (method.replace("_without_prior", " (no prior)") for method in methods)
    lines = [["repeated rows", "catalogue", *names, "federated − local"]]
    for repeats, words in (("first", "first in the file"), ("earliest", "earliest in time")):
        for catalogue in ("all", "known"):
            rows = select("corrections", repeats=repeats, catalogue=catalogue)
            means = {method: mean(per_seed_means(rows, method)) for method in methods}
            gain = means["federated"] - means["local"]
            lines.append([words, catalogue, *(f"{figure:.4f}" for figure in means.values()), f"{gain:+.4f}"])
    return markdown(lines)


def outside() -> str:
    """How many items each market ranks, and which share of its test targets is not among them."""
    lines = [["", *MARKETS]]
    for words, catalogue in (("items of any row", "all"), ("known items", "known")):
        rows = select("corrections", repeats="earliest", catalogue=catalogue, method="popularity")
        ranked = {row["market"]: row["ranked"] for row in rows}
        lines.append([words, *(ranked[market] for market in MARKETS)])
    rows = select("corrections", repeats="earliest", catalogue="known", method="popularity")
    shares = {row["market"]: float(row["outside"]) for row in rows}
    lines.append(["targets outside", *(f"{shares[market]:.1%}" for market in MARKETS)])
    return markdown(lines)


_PAGE = "docs/results/sensitivity.md"
TABLES = (
    Table("sensitivity", _PAGE, sensitivity, (METHODS, TIES, UNTIED, BASKET)),
    Table("corrections", _PAGE, corrections, (CORRECTIONS,)),
    Table("targets-outside", _PAGE, outside, (CORRECTIONS,)),
    Table("weights", _PAGE, weights, (LOSSES, UNIFORM)),
    Table("ridge", _PAGE, ridge, (RIDGE,)),
)
