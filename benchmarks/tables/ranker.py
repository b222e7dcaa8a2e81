"""docs/results/ranker.md: a ranker that all markets train, and where its gain comes from."""

from collections.abc import Sequence

from commands import BOOSTED, KNOWN_ITEM, RANKER, RANKER_SCORES
from results import Row

from fedrec.report.table3 import MARKETS
from tables.figures import by, label, markdown, mean, result_lines, select, with_interval
from tables.table import Table

_LINES = ("popularity", "itemknn", "ease", "fedease", "local", "local_shared_statistics", "federated")


def results(protocol: str) -> str:
    """NDCG@10 of the ranker and its baselines per market, FeCoSR-style beside them where it was measured."""
    rows = select("ranker", protocol=protocol, variant="ranker")
    lines = [["", *MARKETS, "**mean**"], *result_lines(rows, _LINES)]
    if _of("ranker", "fecosr", protocol):
        lines.insert(-1, _line("ranker", "fecosr", protocol, "FeCoSR-style, federated"))
    return markdown(lines)


def scored() -> str:
    """The same with another model's scores as a feature, the ranker without them and FeCoSR-style beside it."""
    rows = select("ranker_scores", protocol="family", variant="scores")
    lines = [["", *MARKETS, "**mean**"], *result_lines(rows, _LINES)]
    for variant, words in (("fecosr", "FeCoSR-style, federated"), ("ranker", "without scores, federated")):
        lines.insert(-1, _line("ranker_scores", variant, "family", words))
    return markdown(lines)


def scored_differences() -> str:
    """Of those, for the mean without IN too, whose few users make the other one wide."""
    return differences("ranker_scores", "family", ("mean", "mean without in"))


def differences(table: str, protocol: str, means: Sequence[str] = ("mean",)) -> str:
    """Mean differences per market and for the mean of markets, with 95 % intervals over users and seeds."""
    rows = select(f"{table}_intervals", protocol=protocol)
    found = by(rows, "market", "method", "other")
    pairs = list(dict.fromkeys((row["method"], row["other"]) for row in rows))
    lines = [["", *MARKETS, *(f"**{name}**" for name in means)]]
    for pair in pairs:
        cells = [with_interval(found[market, *pair]) for market in (*MARKETS, *means)]
        lines.append([" − ".join(_name(one, table) for one in pair), *cells])
    return markdown(lines)


def boosted() -> str:
    """NDCG@10 of boosted trees per market, and how many trees there were."""
    lines = [["", *MARKETS, "**mean**", "trees"]]
    for method in ("local", "pooled"):
        rows = by(select("boosted", protocol="family", method=method), "market")
        figures = [float(rows[(market,)]["ndcg@10"]) for market in MARKETS]
        trees = ", ".join(dict.fromkeys(rows[(market,)]["trees"] for market in MARKETS))
        lines.append([method, *(f"{one:.4f}" for one in figures), f"{mean(figures):.4f}", trees])
    return markdown(lines)


def known_item() -> str:
    """What knowing one item of a user gives away for sure, by the least count that leaves, in percent."""
    rows = by(select("known_item"), "min_count", "market")
    lines = [["counts of at least", *MARKETS]]
    for count in sorted({row["min_count"] for row in rows.values()}, key=int):
        shares = [float(rows[count, market]["item_learned"]) for market in MARKETS]
        lines.append([f"{count} users" if count != "1" else "1 user", *(f"{100 * share:.1f} %" for share in shares)])
    return markdown(lines)


def _of(table: str, variant: str, protocol: str) -> Sequence[Row]:
    """Rows of a variant, if there are any."""
    return [row for row in select(table) if (row["variant"], row["protocol"]) == (variant, protocol)]


def _line(table: str, variant: str, protocol: str, words: str) -> list[str]:
    (line,) = result_lines(_of(table, variant, protocol), ("federated",))
    return [words, *line[1:]]


def _name(text: str, table: str) -> str:
    """Of a variant's method; a ranker without scores is called so where others have them."""
    variant, method = text.split(": ")
    if variant == "fecosr":
        return f"FeCoSR-style {label(method)}"
    return f"{label(method)} without scores" if (table, variant) == ("ranker_scores", "ranker") else label(method)


_PAGE = "docs/results/ranker.md"
TABLES = (
    Table("ranker-family", _PAGE, lambda: results("family"), (RANKER,)),
    Table("ranker-family-differences", _PAGE, lambda: differences("ranker", "family"), (RANKER,)),
    Table("ranker-scores", _PAGE, scored, (RANKER_SCORES,)),
    Table("ranker-scores-differences", _PAGE, scored_differences, (RANKER_SCORES,)),
    Table("ranker-temporal", _PAGE, lambda: results("temporal"), (RANKER,)),
    Table("ranker-temporal-differences", _PAGE, lambda: differences("ranker", "temporal"), (RANKER,)),
    Table("ranker-boosted", _PAGE, boosted, (BOOSTED,)),
    Table("ranker-known-item", _PAGE, known_item, (KNOWN_ITEM,)),
)
