"""A market made ready."""

from pathlib import Path

import polars as pl

from fedrec.data.store import open_store, write_families
from fedrec.data.store_writer import write_store
from fedrec.training.prepared import item_texts


def test_a_family_speaks_with_its_first_member_that_has_a_text(tmp_path: Path) -> None:
    """a1 stands for {a1, a2, a3} but is not sold here, a2 has no text: a3 speaks. Item ids may hold commas."""
    items = pl.DataFrame(
        {"item_id": ["a2", "a3", "b,1"], "title": [None, "red lamp", "blue"], "brand": [None, "Lux", None]},
    ).with_columns(pl.lit(None, pl.String).alias("category"))
    frame = pl.DataFrame(
        [("u", item, 1_500_000_000, 1.0) for item in items["item_id"]],
        schema=["user_id", "item_id", "timestamp", "value"],
        orient="row",
    )
    families = {"a2": "a1", "a3": "a1", "b,1": "b,1"}
    write_store(tmp_path / "jp", "jp", frame, source="t", time_resolution="day", items=items, families=families)
    store = open_store(tmp_path / "jp")
    assert store.families == families
    assert item_texts(store, ["a1", "b,1", "z"]) == ["red lamp Lux", "blue", ""]


def test_the_fingerprint_sees_families_and_texts(tmp_path: Path, synthetic: Path) -> None:
    """A run's manifest must tell two folders apart whose interactions are the same."""
    source = open_store(synthetic / "alfa")
    for name in ("one", "two"):
        write_store(tmp_path / name, "alfa", source.interactions, source="t", time_resolution="second")
    first = open_store(tmp_path / "one").fingerprint
    assert first == open_store(tmp_path / "two").fingerprint != source.fingerprint
    write_families(tmp_path / "two" / "families.csv", {"item-00000": "item-00000"})
    assert open_store(tmp_path / "two").fingerprint != first
