"""docs/results/gain.md: do markets gain from each other?"""

from commands import GLOBAL_TIME, METHODS, SHARED_SEMANTICS

from tables.figures import (
    HEADLINE,
    MARKETS,
    differences,
    label,
    markdown,
    mean,
    per_seed_means,
    results,
    rows_of,
    select,
    values,
    with_spread,
)
from tables.table import Table


def parts() -> str:
    """What the shared semantics bring alone, and what averaging adds: one seed, protocol `family`."""
    rows = rows_of("xmarket_shared_semantics")
    methods = [
        f"{name}{suffix}"
        for suffix in ("_without_prior", "")
        for name in ("local", "local_shared_semantics", "federated")
    ]
    lines = [["market", *map(label, methods)]]
    for market in MARKETS:
        lines.append([market, *(f"{mean(values(rows, market, method)):.4f}" for method in methods)])
    lines.append(["**mean**", *(with_spread(per_seed_means(rows, method)) for method in methods)])
    return markdown(lines)


def _results(name: str, protocol: str) -> str:
    return results(select(name, protocol=protocol, lam=HEADLINE))


_PAGE = "docs/results/gain.md"
TABLES = (
    Table("family", _PAGE, lambda: _results("xmarket_methods", "family"), (METHODS,)),
    Table("family-differences", _PAGE, lambda: differences("xmarket_methods", "family"), (METHODS,)),
    Table("temporal", _PAGE, lambda: _results("xmarket_methods", "temporal"), (METHODS,)),
    Table("temporal-differences", _PAGE, lambda: differences("xmarket_methods", "temporal"), (METHODS,)),
    Table("global-time", _PAGE, lambda: _results("xmarket_global", "global-time"), (GLOBAL_TIME,)),
    Table("global-time-differences", _PAGE, lambda: differences("xmarket_global", "global-time"), (GLOBAL_TIME,)),
    Table("parts", _PAGE, parts, (SHARED_SEMANTICS,)),
)
