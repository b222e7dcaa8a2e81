"""Market stores and synthetic markets on disk."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from fedrec.data.store import open_store, open_stores
from fedrec.data.store_writer import write_store
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.errors import UserError
from tests.conftest import TINY


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def test_synthetic_markets_same_seed_same_bytes(tmp_path: Path, synthetic: Path) -> None:
    write_synthetic_markets(tmp_path / "again", TINY)
    assert files(tmp_path / "again") == files(synthetic)
    write_synthetic_markets(tmp_path / "other", SynthSettings(**{**TINY.__dict__, "seed": 4}))
    assert files(tmp_path / "other") != files(synthetic)


def test_the_knobs_do_what_they_say(tmp_path: Path) -> None:
    """Full overlap: every market may stock everything; none: catalogues are disjoint; skew: sizes fall."""
    settings = {"markets": ("a", "b"), "users": 80, "items": 60, "topics": 4}
    write_synthetic_markets(tmp_path / "apart", SynthSettings(**settings, overlap=0, skew=0.5))
    write_synthetic_markets(tmp_path / "together", SynthSettings(**settings, overlap=1))
    first, second = (set(store.catalogue["item_id"]) for store in open_stores(tmp_path / "apart"))
    assert not first & second
    sizes = [store.users for store in open_stores(tmp_path / "apart")]
    assert sizes == [80, 40]
    first, second = (set(store.catalogue["item_id"]) for store in open_stores(tmp_path / "together"))
    assert len(first & second) > 0.7 * 60
    with pytest.raises(UserError, match=r"--overlap 2: must lie between 0 and 1"):
        write_synthetic_markets(tmp_path / "bad", SynthSettings(overlap=2))
    with pytest.raises(UserError, match="market name '../a' is refused"):
        write_synthetic_markets(tmp_path / "bad", SynthSettings(markets=("../a",)))
    assert not (tmp_path / "bad").exists()


def test_a_hundred_thousand_items(tmp_path: Path) -> None:
    """Keys of six digits beside those of five: what is described is what was sold."""
    write_synthetic_markets(tmp_path / "data", SynthSettings(markets=("alfa",), users=400, items=120_000, topics=20))
    store = open_stores(tmp_path / "data")[0]
    sold = set(store.interactions["item_id"])
    assert set(store.catalogue["item_id"]) == sold
    assert max(sold) > "item-100000"


def test_changed_interactions_are_noticed(tmp_path: Path, synthetic: Path) -> None:
    frame = open_store(synthetic / "alfa").rows
    write_store(tmp_path / "alfa", "alfa", frame, source="test", time_resolution="second")
    frame.with_columns(pl.lit(1.0).alias("value")).write_parquet(tmp_path / "alfa" / "interactions.parquet")
    with pytest.raises(UserError, match="differ from market"):
        _ = open_store(tmp_path / "alfa").interactions


def test_what_is_no_store_is_refused(tmp_path: Path, synthetic: Path) -> None:
    with pytest.raises(UserError, match="no such data folder"):
        open_stores(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no market store"):
        open_stores(tmp_path)
    with pytest.raises(UserError, match="zulu not in .*; it has alfa, bravo, charlie"):
        open_stores(synthetic, ["zulu"])
    broken = tmp_path / "data" / "alfa"
    broken.mkdir(parents=True)
    (broken / "market.yaml").write_text("schema: 1\nname: [")
    with pytest.raises(UserError, match=r"market\.yaml: (unreadable|not valid)"):
        open_store(broken)
    (broken / "market.yaml").write_text(yaml.safe_dump({"schema": 9}))
    with pytest.raises(UserError, match="schema 9 is not 2"):
        open_store(broken)


def test_an_empty_market_is_refused(tmp_path: Path, synthetic: Path) -> None:
    frame = open_store(synthetic / "alfa").interactions.head(0)
    with pytest.raises(UserError, match="no interactions"):
        write_store(tmp_path / "jp", "jp", frame, source="test", time_resolution="day")
    assert not (tmp_path / "jp").exists()
