"""The tables of docs/results and README.md, a module a page; ``pages.py`` writes them.

Each is made from rows of benchmarks/results alone. ``python benchmarks/measure.py --list`` prints them all.
"""

from tables import (
    codes,
    cost,
    data,
    gain,
    index,
    losses,
    models,
    newcomers,
    pacer,
    privacy,
    published_table,
    ranker,
    retail,
    sensitivity,
)
from tables.table import Table

_MODULES = (
    index,
    data,
    gain,
    ranker,
    published_table,
    losses,
    models,
    retail,
    newcomers,
    codes,
    pacer,
    privacy,
    sensitivity,
    cost,
)
TABLES: dict[str, Table] = {table.name: table for module in _MODULES for table in module.TABLES}
