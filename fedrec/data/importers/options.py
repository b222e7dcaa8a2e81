"""What a person may say beside source and target of an import."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedrec.data.columns import Columns
from fedrec.errors import UserError
from fedrec.files import market_name

ROLES = {
    "user": Columns.USER,
    "item": Columns.ITEM,
    "time": Columns.TIMESTAMP,
    "value": Columns.VALUE,
    "title": Columns.TITLE,
    "brand": Columns.BRAND,
    "category": Columns.CATEGORY,
    "market": "market",
}
REQUIRED = ("user", "item", "time")


@dataclass(frozen=True)
class ImportOptions:
    """Which options a kind takes is said by its importer."""

    columns: dict[str, str] = field(default_factory=dict)  # role -> column of the source
    market: str | None = None  # name of the one market, where no column says it
    time_format: str | None = None  # of strptime; default: ISO 8601, or seconds or milliseconds since 1970
    timezone: str | None = None  # of times without an offset, and of calendar days; default: as written, else UTC
    separator: str = ","
    merge: dict[str, tuple[str, ...]] = field(default_factory=dict)  # new market -> markets that become it
    min_users: int = 1  # markets with fewer are left out
    items: Path | None = None  # file of the items that each market declares; default: those that occur

    def with_columns(self, columns: dict[str, str]) -> "ImportOptions":
        """The same with the columns of a table, by role."""
        return replace(self, columns=columns)

    @property
    def given(self) -> set[str]:
        """Options that are not at their default, as they are written on the command line."""
        default = ImportOptions()
        flags = {
            "--map": "columns",
            "--market": "market",
            "--time-format": "time_format",
            "--timezone": "timezone",
            "--separator": "separator",
            "--merge": "merge",
            "--min-users": "min_users",
            "--items": "items",
        }
        return {flag for flag, name in flags.items() if getattr(self, name) != getattr(default, name)}


def parse_columns(entries: Sequence[str]) -> dict[str, str]:
    """``role=column`` entries; raises :class:`UserError` for an unknown role."""
    columns: dict[str, str] = {}
    for entry in entries:
        role, separator, column = entry.partition("=")
        if not separator or not column or role not in ROLES:
            raise UserError(f"--map {entry!r}: write ROLE=COLUMN; roles: {', '.join(ROLES)}")
        if role in columns:
            raise UserError(f"--map {entry!r}: {role} is already {columns[role]!r}; give each role once")
        columns[role] = column
    return columns


def parse_merge(entries: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``name=market,market,...`` entries."""
    merge: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for entry in entries:
        name, separator, members = entry.partition("=")
        names = tuple(market_name(member.strip(), f"--merge {entry!r}") for member in members.split(",") if member)
        if not separator or not names:
            raise UserError(f"--merge {entry!r}: write NAME=MARKET,MARKET,...")
        if name in merge or taken & set(names) or len(set(names)) != len(names):
            raise UserError(f"--merge {entry!r}: a market can become only one other; name each once")
        merge[market_name(name, f"--merge {entry!r}")] = names
        taken |= set(names)
    return merge
