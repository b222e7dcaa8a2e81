"""What a market's own log says of a failure, for the person at whose machine all markets are.

A market sends no more of an unexpected error than its kind. In a simulation the rest lies on the same disk.
"""

from pathlib import Path

from fedrec.errors import LOGGED
from fedrec.words import cleaned

_LOG, _TRACEBACK = "client.log", "Traceback (most recent call last):"
_LONGEST = 400  # characters of a message


def in_full(error: Exception, markets: Path) -> str | None:
    """The error with the message that it hides, and where the traceback is; None where there is none."""
    named = [path for path in markets.glob(f"*/{_LOG}") if f"; {path.parent.name}: " in str(error)]
    logs = sorted(named or markets.glob(f"*/{_LOG}"), key=lambda path: path.stat().st_mtime)
    if LOGGED not in str(error) or not logs:
        return None
    message = _last_message(logs[-1].read_text(encoding="utf-8"))
    kind = message.partition(":")[0].rpartition(".")[2]
    return f"{str(error).replace(f'{kind} ({LOGGED})', message)}; traceback in {logs[-1]}"


def _last_message(log: str) -> str:
    """What the last exception of a log said, its lines joined: what follows the frames of the last traceback."""
    lines = [line for line in log.rpartition(_TRACEBACK)[2].splitlines() if line.strip()]
    begin = next((number for number, line in enumerate(lines) if not line.startswith(" ")), 0)
    return cleaned(" ".join(line.strip() for line in lines[begin:]), _LONGEST)
