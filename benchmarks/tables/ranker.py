"""docs/results/ranker.md: a ranker that all markets train, and where its gain comes from."""

from collections.abc import Sequence

from commands import (
    BOOSTED,
    KNOWN_ITEM,
    RANKER,
    RANKER_AUDIT,
    RANKER_GLOBAL,
    RANKER_PARTS,
    RANKER_PRIVATE,
    RANKER_SCORES,
    RANKER_SUMS,
)
from results import Row

from fedrec.report.table3 import MARKETS
from tables.figures import by, label, markdown, mean, result_lines, select, with_interval
from tables.figures import differences as grid_differences
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


def one_date() -> str:
    """The ranker where one date cuts all histories."""
    rows = select("xmarket_ranker_global", protocol="global-time")
    return markdown([["", *MARKETS, "**mean**"], *result_lines(rows, _LINES)])


def one_date_differences() -> str:
    """Of it, with intervals."""
    return grid_differences("xmarket_ranker_global", "global-time")


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


def left_over() -> str:
    """Of how many told pairs, and items with a told month, exactly one user is left over, in percent."""
    rows = by(select("known_item"), "min_count", "market")
    lines = [["counts of at least", "left over of", *MARKETS]]
    for count in sorted({row["min_count"] for row in rows.values()} - {"1"}, key=int):
        for words, column in (("a pair, by gaps", "pairs_of_one"), ("an item, by months", "months_of_one")):
            shares = [rows[count, market][column] for market in MARKETS]
            lines.append([f"{count} users", words, *(f"{100 * float(one):.1f} %" if one else "" for one in shares)])
    return markdown(lines)


def parts() -> str:
    """The federated ranker without each of its parts: NDCG@10 per market, and what left all markets."""
    asked = {"protocol": "family", "method": "federated"}
    rows = select("ranker_sums", **asked) + select("ranker_parts", **asked)
    lines = [["", *MARKETS, "**mean**", "MB up", "seeds"]]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        ((_, *figures),) = result_lines(own, ("federated",))
        seeds = {row["seed"]: float(row["megabytes_up"]) for row in own}
        lines.append([variant, *figures, f"{mean(list(seeds.values())):.2f}", str(len(seeds))])
    return markdown(lines)


def private() -> str:
    """The ranker under noise: NDCG@10 per market of what learns from the others' noised pairs, and of what does not."""
    rows = select("ranker_private", protocol="family")
    lines = [["", *MARKETS, "**mean**"]]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        methods = ("federated",) if len(lines) > 1 else ("popularity", "local", "federated")
        for line in result_lines(own, methods):
            lines.append([f"federated, {variant}" if line[0] == "federated" else line[0], *line[1:]])
    return markdown(lines)


def private_differences() -> str:
    """Of those, with intervals."""
    return differences("ranker_private", "family", ("mean", "mean without in"))


def audited() -> str:
    """What every observer learns, by the least count that leaves: means over markets."""
    rows = select("ranker_audit")
    counts = sorted({row["min_count"] for row in rows}, key=int)
    shown = [
        ("membership of a user", "statistics", "auc"),
        ("membership of a user", "loss of a ranker before and after", "auc"),
        ("one known item", "statistics", "another item"),
        ("one known item", "statistics", "month"),
    ]
    lines = [["attack", "by", "figure", "seen by", *(f"at least {count}" for count in counts)]]
    for attack, made_of, figure in shown:
        for observer in ("server, each upload", "server, sums", "peer market"):
            chosen = [
                row
                for row in rows
                if (row["attack"], row["by"], row["figure"], row["observer"]) == (attack, made_of, figure, observer)
                and not row["control"]
            ]
            cells = [mean([float(row["value"]) for row in chosen if row["min_count"] == count]) for count in counts]
            lines.append([attack, made_of, figure, observer, *(f"{cell:.3f}" for cell in cells)])
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
    if table == "ranker_private" and method == "federated":
        return f"{label(method)}, {variant}"
    return f"{label(method)} without scores" if (table, variant) == ("ranker_scores", "ranker") else label(method)


_PAGE = "docs/results/ranker.md"
TABLES = (
    Table("ranker-family", _PAGE, lambda: results("family"), (RANKER,)),
    Table("ranker-family-differences", _PAGE, lambda: differences("ranker", "family"), (RANKER,)),
    Table("ranker-scores", _PAGE, scored, (RANKER_SCORES,)),
    Table("ranker-scores-differences", _PAGE, scored_differences, (RANKER_SCORES,)),
    Table("ranker-temporal", _PAGE, lambda: results("temporal"), (RANKER,)),
    Table("ranker-temporal-differences", _PAGE, lambda: differences("ranker", "temporal"), (RANKER,)),
    Table("ranker-global", _PAGE, one_date, (RANKER_GLOBAL,)),
    Table("ranker-global-differences", _PAGE, one_date_differences, (RANKER_GLOBAL,)),
    Table("ranker-parts", _PAGE, parts, (RANKER_PARTS, RANKER_SUMS)),
    Table("ranker-private", _PAGE, private, (RANKER_PRIVATE,)),
    Table("ranker-private-differences", _PAGE, private_differences, (RANKER_PRIVATE,)),
    Table("ranker-boosted", _PAGE, boosted, (BOOSTED,)),
    Table("ranker-known-item", _PAGE, known_item, (KNOWN_ITEM,)),
    Table("ranker-left-over", _PAGE, left_over, (KNOWN_ITEM,)),
    Table("ranker-audit", _PAGE, audited, (RANKER_AUDIT,)),
)
