"""docs/results/cost.md and hosts.md: time, memory and bytes."""

from commands import (
    COMPRESSION,
    CONTAINERS,
    DEPLOYMENT,
    ENGINES,
    IMPORT_SCALE,
    PEERS,
    ROUND_OVERHEAD,
    SCALE,
    SPARSE_EASE,
)

from tables.figures import as_measured
from tables.table import Table

_PAGE = "docs/results/cost.md"
TABLES = (
    Table("round-overhead", _PAGE, lambda: as_measured("round_overhead"), (ROUND_OVERHEAD,)),
    Table("engines", _PAGE, lambda: as_measured("engines"), (ENGINES,)),
    Table("scale", _PAGE, lambda: as_measured("scale"), (SCALE,)),
    Table("peers", _PAGE, lambda: as_measured("peers"), (PEERS,)),
    Table("import-scale", _PAGE, lambda: as_measured("import_scale"), (IMPORT_SCALE,)),
    Table("sparse-ease", _PAGE, lambda: as_measured("sparse_ease"), (SPARSE_EASE,)),
    Table("compression", _PAGE, lambda: as_measured("compression"), (COMPRESSION,)),
    Table("deployment", "docs/results/hosts.md", lambda: as_measured("deployment"), (DEPLOYMENT,)),
    Table("containers-demo", "docs/results/hosts.md", lambda: as_measured("containers_demo"), (CONTAINERS,)),
    Table("containers-kills", "docs/results/hosts.md", lambda: as_measured("containers_kills"), (CONTAINERS,)),
)
