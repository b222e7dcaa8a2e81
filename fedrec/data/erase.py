"""A market's data without one of its users."""

import unicodedata
from pathlib import Path

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.store import MarketStore
from fedrec.data.store_writer import copy_store
from fedrec.errors import UserError


def erase_user(store: MarketStore, user: str, path: Path) -> int:
    """Write the store without ``user`` to ``path``; returns how many interactions went.

    Texts of items that nobody else bought stay: they are the shop's. Raises :class:`UserError` for an unknown user.
    """
    user = unicodedata.normalize("NFC", user)  # as importers write ids
    kept = store.rows.filter(pl.col(Columns.USER) != user)
    erased = store.count - kept.height
    if not erased:
        raise UserError(f"--user {user!r}: not in market {store.name!r}; nothing to forget")
    copy_store(store, path, kept)
    return erased
