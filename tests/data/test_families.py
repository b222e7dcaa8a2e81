"""Product families."""

from pathlib import Path

import polars as pl

from fedrec.data.families import build_families
from fedrec.data.store import open_stores, read_families


def frame(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")


def test_variants_link_within_a_market_and_chain_across_markets() -> None:
    """a and b have users {1,2,3} in common (Jaccard 3/3); b and c likewise in another market: one family, named a.

    d shares 3 of 4 users with e (0.75 < 0.8), f and g only two users: both stay apart.
    """
    first = frame(
        *[(user, item) for user in "123" for item in "ab"],
        *[(user, item) for user in "456" for item in "de"],
        ("7", "d"),
        *[(user, item) for user in "89" for item in "fg"],
    )
    second = frame(*[(user, item) for user in "123" for item in "bc"])
    found = build_families([first, second])
    assert found.families == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e", "f": "f", "g": "g"}
    assert (found.count, found.sizes) == (5, [3])


def test_the_common_users_must_be_in_one_market() -> None:
    """Two common users in each of two markets do not make three."""
    pairs = [(user, item) for user in "12" for item in "ab"]
    assert build_families([frame(*pairs), frame(*pairs)]).count == 2


def test_the_real_map_is_found_again(xmarket: Path, shared: Path) -> None:
    """methods.md section 4: 7,803 families, 320 with several items; item for item the map lying beside the data."""
    found = build_families(store.interactions for store in open_stores(xmarket))
    assert (found.count, len(found.sizes)) == (7803, 320)
    assert found.families == read_families(shared / "xmarket_electronics" / "families.csv")
