"""docs/results/retail.md: markets whose items are described, UCI Online Retail."""

from commands import RETAIL_BASKET, RETAIL_CODES, RETAIL_ITEM, RETAIL_RANKER

from tables.figures import differences, markdown, result_lines, select
from tables.table import Table

MARKETS = ("dach", "north", "south", "united-kingdom", "west")
LOSSES = (("0.3", "S2CE"), ("0.0", "CE"))  # loss.lam, and what the loss is then
BASELINES = ("popularity", "ease")
MODELS = ("local_without_prior", "local", "federated_without_prior", "federated")


def retail(variant: str) -> str:
    """The baselines, then local and federated models under either loss."""
    lines = [["", *MARKETS, "**mean**"]]
    for lam, words in LOSSES:
        rows = select(f"retail_{variant}", protocol="temporal", lam=lam)
        if lam == LOSSES[0][0]:  # baselines know no loss
            lines += result_lines(rows, BASELINES, MARKETS)
        lines += [[f"{line[0]}, {words}", *line[1:]] for line in result_lines(rows, MODELS, MARKETS)]
    return markdown(lines)


def retail_differences(variant: str) -> str:
    """Federated minus local and EASE under either loss."""
    pairs = (("federated", "local"), ("federated", "ease"))
    tables = {
        words: differences(f"retail_{variant}", "temporal", pairs, MARKETS, lam).splitlines() for lam, words in LOSSES
    }
    header = tables["S2CE"][:2]
    return "\n".join([*header, *(f"| {words}: {line[2:]}" for words, lines in tables.items() for line in lines[2:])])


def ranker() -> str:
    """The next basket by the shared ranker, with the score of a FeCoSR-style model."""
    rows = select("retail_ranker", protocol="temporal")
    return markdown([["", *MARKETS, "**mean**"], *result_lines(rows, (*BASELINES, "local", "federated"), MARKETS)])


def ranker_differences() -> str:
    """Federated minus local and EASE."""
    return differences("retail_ranker", "temporal", (("federated", "local"), ("federated", "ease")), MARKETS)


def codes() -> str:
    """The next item by a sequential model on codes."""
    rows = select("retail_codes", protocol="temporal")
    methods = (*BASELINES, "randomcodes", "nocodes", "local", "federated")
    return markdown([["", *MARKETS, "**mean**"], *result_lines(rows, methods, MARKETS)])


_PAGE = "docs/results/retail.md"
TABLES = (
    Table("retail-item", _PAGE, lambda: retail("item"), (RETAIL_ITEM,)),
    Table("retail-item-differences", _PAGE, lambda: retail_differences("item"), (RETAIL_ITEM,)),
    Table("retail-basket", _PAGE, lambda: retail("basket"), (RETAIL_BASKET,)),
    Table("retail-basket-differences", _PAGE, lambda: retail_differences("basket"), (RETAIL_BASKET,)),
    Table("retail-codes", _PAGE, codes, (RETAIL_CODES,)),
    Table("retail-ranker", _PAGE, ranker, (RETAIL_RANKER,)),
    Table("retail-ranker-differences", _PAGE, ranker_differences, (RETAIL_RANKER,)),
)
