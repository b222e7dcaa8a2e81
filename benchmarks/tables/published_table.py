"""docs/results/published-table.md: what is published elsewhere, on its own protocol."""

from commands import ACMR, FEDEASE, TABLE3

from fedrec.report.table3 import published, table3_lines
from tables.figures import HEADLINE, MARKETS, METHODS, PAIRS, differences, markdown, mean, result_lines, rows_of, select
from tables.table import Table


def acmr() -> str:
    """The legacy protocol beside the published model."""
    figures = published("ndcg@10")
    theirs = [figures["ACMR", market] for market in MARKETS]
    lines = [
        ["", *MARKETS, "**mean**"],
        ["ACMR, published", *(f"{figure:.4f}" for figure in theirs), f"{mean(theirs):.4f}"],
    ]
    trained, counted = (select(f"xmarket_{name}", protocol="acmr", lam=HEADLINE) for name in ("acmr", "fedease"))
    fedease = [row for row in counted if row["method"].startswith("fedease")]
    return markdown([*lines, *result_lines([*trained, *fedease], METHODS)])


def table_3() -> str:
    """NDCG@10 of every published model, the baselines and ours; published figure and difference below."""
    header, lines = table3_lines(rows_of("table3/rows"))
    return markdown([header, *lines])


_PAGE = "docs/results/published-table.md"
TABLES = (
    Table("acmr", _PAGE, acmr, (ACMR, FEDEASE)),
    Table("acmr-differences", _PAGE, lambda: differences("xmarket_acmr", "acmr"), (ACMR,)),
    Table("acmr-fedease-differences", _PAGE, lambda: differences("xmarket_fedease", "acmr", PAIRS[-1:]), (FEDEASE,)),
    Table("table-3", _PAGE, table_3, (TABLE3,)),
)
