"""A forgotten user: the run is the one that never had them, and counts are the old ones less theirs."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from fedrec.cli.main import app
from fedrec.data.columns import Columns
from fedrec.data.store import open_store, open_stores
from fedrec.data.store_writer import write_store
from fedrec.errors import RunError, UserError
from fedrec.recipe import load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation import forget as module
from fedrec.simulation.forget import forget
from fedrec.simulation.run import open_finished, prepare_simulation
from tests.conftest import QUICK

OVERRIDES = [*QUICK, "semantics.kind=cooccurrence", "evaluation.methods=[federated, fedease]"]


def start(data: Path, out: Path, *overrides: str) -> dict:
    return prepare_simulation(load_recipe("fecosr", [*OVERRIDES, *overrides]), data, out).start()


def some_user(data: Path) -> str:
    return str(open_store(data / "bravo").interactions[Columns.USER][10])


@pytest.mark.parametrize("restrict", ["before", "after"])
def test_the_run_is_the_one_that_never_had_the_user(restrict: str, synthetic: Path, tmp_path: Path) -> None:
    start(synthetic, tmp_path / "run", f"fedease.restrict={restrict}")
    user = some_user(synthetic)
    done = forget(tmp_path / "run", "bravo", user, tmp_path / "data", tmp_path / "again")
    assert done.subtracted == ["alfa", "bravo", "charlie"]
    assert all(
        user not in store.interactions[Columns.USER]
        for store in open_stores(tmp_path / "data")
        if store.name == "bravo"
    )
    never = tmp_path / "never"
    for store in open_stores(synthetic):  # made without fedrec.data.erase
        rows = store.interactions.filter((pl.col(Columns.USER) != user) | (store.name != "bravo"))
        write_store(
            never / store.name,
            store.name,
            rows,
            source="",
            time_resolution=store.time_resolution,
            items=store.catalogue,
        )
    expected = start(never, tmp_path / "expected", f"fedease.restrict={restrict}")
    again = comparable(done.summary)
    assert {**again, "dataset": ""} == {**comparable(expected), "dataset": ""}
    for name in ("shared/model.safetensors", "markets/bravo/federated.safetensors", "markets/alfa/gram.safetensors"):
        found, wanted = (load_file(tmp_path / run / name) for run in ("again", "expected"))
        assert all((found[key] == wanted[key]).all() for key in wanted)


def test_a_map_of_families_made_of_the_user_is_made_again(tmp_path: Path) -> None:
    """Two items are one family because of three users, the one to be forgotten among them."""
    rows = [
        (f"u{user}", item, 1_500_000_000 + 100_000 * user + place)
        for user in range(3)
        for place, item in enumerate("xyz")
    ]
    rows += [
        (f"v{user}", item, 1_500_000_000 + 50_000 * user + place)
        for user in range(30)
        for place, item in enumerate(("a", "b", "c", "d", "e")[user % 3 :])
    ]
    frame = pl.DataFrame(rows, schema=[Columns.USER, Columns.ITEM, Columns.TIMESTAMP], orient="row")
    frame = frame.with_columns(pl.lit(1.0).alias(Columns.VALUE))
    write_store(tmp_path / "data" / "bravo", "bravo", frame, source="test", time_resolution="second")
    assert CliRunner().invoke(app, ["data", "families", str(tmp_path / "data")]).exit_code == 0
    before = open_store(tmp_path / "data" / "bravo").families
    assert before is not None
    assert before["y"] == "x"
    shutil.copytree(tmp_path / "data", tmp_path / "given")
    given = tmp_path / "given" / "bravo" / "families.csv"
    given.write_text(given.read_text().replace("c,c", "c,a"))
    for data, became, family in (("data", "rebuilt", "y"), ("given", "kept", "x")):
        start(tmp_path / data, tmp_path / f"{data}-run", "semantics.kind=cooccurrence")
        done = forget(tmp_path / f"{data}-run", "bravo", "u0", tmp_path / f"{data}-new", tmp_path / f"{data}-again")
        after = open_store(tmp_path / f"{data}-new" / "bravo").families
        assert done.families == became
        assert after is not None
        assert after["y"] == family
        assert done.subtracted == ([] if became == "rebuilt" else ["bravo"])
        assert not done.texts


def test_counts_that_do_not_add_up_are_noticed(synthetic: Path, tmp_path: Path) -> None:
    start(synthetic, tmp_path / "run")
    forget(tmp_path / "run", "bravo", some_user(synthetic), tmp_path / "data", tmp_path / "again")
    path = tmp_path / "again" / "markets" / "alfa" / "gram.safetensors"
    arrays = load_file(path)
    arrays["count"][arrays["first"] == arrays["second"]] += 1
    save_file(arrays, path)
    before, after = open_finished(tmp_path / "run"), open_finished(tmp_path / "again")
    with pytest.raises(RunError, match="not the old ones less this user's"):
        module._check_counts(before, after, "bravo", some_user(synthetic))


def test_the_command_says_what_still_holds_the_user(synthetic: Path, tmp_path: Path) -> None:
    start(synthetic, tmp_path / "run", "evaluation.methods=[fedease]")
    user = some_user(synthetic)
    options = ["--market", "bravo", "--user", user, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "again")]
    result = CliRunner().invoke(app, ["forget", str(tmp_path / "run"), *options])
    assert result.exit_code == 0, result.output
    assert "the old ones less this user's, to the last pair" in result.output
    assert "for you to delete" in result.output


def test_who_is_not_there_cannot_be_forgotten(synthetic: Path, tmp_path: Path) -> None:
    shutil.copytree(synthetic, tmp_path / "source")
    start(tmp_path / "source", tmp_path / "run", "evaluation.methods=[fedease]")
    for market, user, complaint in (("bravo", "nobody", "nothing to forget"), ("xx", "nobody", "it has alfa")):
        with pytest.raises(UserError, match=complaint):
            forget(tmp_path / "run", market, user, tmp_path / "data", tmp_path / "again")
    assert not (tmp_path / "data").exists()
