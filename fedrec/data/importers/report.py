"""What an import did, for the person who ran it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ImportReport:
    """The markets written and what is worth knowing about them."""

    markets: tuple[str, ...]
    notes: tuple[str, ...]


def shared_user_note(users: dict[str, set[str]]) -> Iterable[str]:
    """One sentence if a user id occurs in several markets: there they are different users."""
    seen: set[str] = set()
    repeated: set[str] = set()
    for ids in users.values():
        repeated |= seen & ids
        seen |= ids
    if repeated:
        yield (
            f"{len(repeated)} user ids occur in more than one market; they are treated as different users "
            "(nothing links markets by person)"
        )
