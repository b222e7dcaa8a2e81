"""The egress ledger as a page: what left each market, how often, how large, which rows changed, and was it declared."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedrec.exchange.declaration import DECLARATIONS
from fedrec.models.groups import groups_of
from fedrec.report.html import page, size

ERROR = "error"  # the text of an error may always leave; it quotes no data
Entry = Mapping[str, Any]


@dataclass
class Line:
    """One thing that left one market, as often as it did."""

    market: str
    part: str  # of the run; empty for the run itself
    action: str
    kind: str
    name: str
    times: int = 0
    bytes: int = 0
    largest: int = 0
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    changed: list[int] = field(default_factory=list)  # rows of a table that differ from what the server sent
    rows: int = 0
    provenance: set[str] = field(default_factory=set)
    algorithm: str | None = "fecosr"  # None: the run has no such part

    @property
    def declared(self) -> bool:
        """Whether the declaration of its action names it."""
        if self.algorithm is None:
            return False
        return self.name == ERROR or is_declared(self.action, self.kind, self.name, self.algorithm)

    @property
    def asked(self) -> str:
        """What it was an answer to, named by its part."""
        return f"{self.part}: {self.action}" if self.part else self.action

    @property
    def partial(self) -> bool:
        """Whether some rows of the table were left as they were and others not: which ones tells what a market has."""
        return any(0 < changed < self.rows for changed in self.changed)


_MAX_BYTES = 2**60
_PLAIN = {"": "fecosr"}


def collect(entries: Iterable[Entry], algorithms: Mapping[str, str] = _PLAIN) -> list[Line]:
    """Lines by market, part of the run, action and name, in order; ``algorithms``: what every part's recipe trains."""
    lines: dict[tuple[str, str, str, str, str], Line] = {}
    for entry in entries:
        key = (entry["market"], entry.get("part", ""), entry["action"], entry["kind"], entry["name"])
        line = lines.setdefault(key, Line(*key, algorithm=algorithms.get(key[1])))
        if not all(isinstance(part, str) for part in key) or not 0 <= entry["bytes"] < _MAX_BYTES:
            raise ValueError("an entry of another form")
        line.times += 1
        line.bytes += entry["bytes"]
        line.largest = max(line.largest, entry["bytes"])
        line.shapes.add(tuple(entry["shape"]))
        if "rows" in entry:
            line.rows = max(line.rows, entry["rows"])
            line.changed.append(entry["rows_changed"])
        line.provenance.add(entry.get("provenance", ""))
    return [lines[key] for key in sorted(lines)]


def is_declared(action: str, kind: str, name: str, algorithm: str = "fecosr") -> bool:
    """Whether an action may send something of that kind and name."""
    declaration = DECLARATIONS.get(action)
    if declaration is None:
        return False
    if kind == "array":
        return declaration.allows_array(name, groups_of(action, algorithm))
    return re.fullmatch(declaration.scalars if kind == "scalar" else declaration.texts, name) is not None


def never_sent(lines: Iterable[Line]) -> list[str]:
    """Actions that may send something and did not."""
    used = {line.action for line in lines}
    silent = {action for action, declaration in DECLARATIONS.items() if declaration == type(declaration)()}
    return sorted(set(DECLARATIONS) - used - silent)


def flags(lines: Iterable[Line], private: bool) -> list[str]:
    """What somebody who answers for privacy must look at; nothing where all is well."""
    found = []
    partial: dict[str, list[str]] = {}
    for line in lines:
        where = f"{line.market}: {line.asked} {line.name}"
        if not line.declared:
            found.append(f"{where} is not declared to leave a market")
        if line.name == ERROR:
            found.append(f"{where}: {line.times} failed answers (their reasons are in events.jsonl)")
        if line.partial:
            changed = f"{line.market} {min(line.changed)} of {line.rows}"
            partial.setdefault(f"{line.asked} {line.name}", []).append(changed)
        if private and line.kind == "array" and line.provenance & {"", "outside epsilon"}:
            found.append(f"{where} left a private run without noise")
    return found + [
        f"{where}: only some rows changed ({', '.join(changed)}); which ones they are tells what a market has (items, "
        "codes, or how long histories are), however well the numbers are hidden"
        for where, changed in partial.items()
    ]


def by_action(lines: Iterable[Line]) -> tuple[list[str], list[tuple[str, dict[str, int]]]]:
    """Bytes per action, named by its part of the run, and market."""
    sent: dict[str, Counter[str]] = {}  # of each action, by market
    for line in lines:
        sent.setdefault(line.asked, Counter())[line.market] += line.bytes
    markets = sorted({market for found in sent.values() for market in found})
    return markets, [(action, {market: sent[action][market] for market in markets}) for action in sorted(sent)]


def ledger_page(name: str, lines: list[Line], private: bool, masked: bool) -> str:
    """The page as HTML."""
    markets, found = by_action(lines)
    rows = [[action, *(size(sent[market]) for market in markets)] for action, sent in found]
    return page(
        "ledger",
        run=name,
        markets=markets,
        bytes={"header": ["in answer to", *markets], "rows": rows},
        lines=lines,
        flags=flags(lines, private),
        never=never_sent(lines),
        private=private,
        masked=masked,
    )
