"""What an import did, for the person who ran it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class ImportReport:
    """The markets written and what is worth knowing about them."""

    markets: tuple[str, ...]
    notes: tuple[str, ...]


def shared_user_note(users: Mapping[str, pl.Series]) -> Iterable[str]:
    """One sentence if a user id occurs in several markets, each of which has its ids once: there they differ."""
    ids = pl.concat([one.rename("id") for one in users.values()])
    repeated = ids.filter(ids.is_duplicated()).n_unique()
    if repeated:
        yield (
            f"{repeated} user ids occur in more than one market; they are treated as different users "
            "(nothing links markets by person)"
        )
