"""What a market's own log says of a failure, for the person at whose machine all markets are.

A market sends no more of an unexpected error than its kind. In a simulation the rest lies on the same disk.
"""

from pathlib import Path

from fedrec.errors import LOGGED

_LOG = "client.log"


def in_full(error: Exception, markets: Path) -> str | None:
    """The error with the last line of the traceback that it hides, and where all of it is; None where there is none."""
    named = [path for path in markets.glob(f"*/{_LOG}") if f"; {path.parent.name}: " in str(error)]
    logs = sorted(named or markets.glob(f"*/{_LOG}"), key=lambda path: path.stat().st_mtime)
    if LOGGED not in str(error) or not logs:
        return None
    lines = [line for line in logs[-1].read_text(encoding="utf-8").splitlines() if line.strip()]
    kind = lines[-1].partition(":")[0].rpartition(".")[2]
    return f"{str(error).replace(f'{kind} ({LOGGED})', lines[-1])}; traceback in {logs[-1]}"
