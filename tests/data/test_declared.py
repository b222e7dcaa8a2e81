"""The list of items that a market declares at import: private runs go over it, whoever bought what."""

from pathlib import Path

import pytest

from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.data.store import open_store
from fedrec.errors import FedrecError
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK

COLUMNS = {"user": "who", "item": "sku", "time": "day", "market": "country"}


def orders(folder: Path, users: int = 30) -> Path:
    path = folder / "orders.csv"
    rows = [
        f"{country}-{user},{(user + step) % 12},2020-01-{step + 1:02d},{country}"
        for country in ("in", "jp")
        for user in range(users)
        for step in range(8)
    ]
    path.write_text("\n".join(["who,sku,day,country", *rows]) + "\n")
    return path


def imported(folder: Path, items: str) -> tuple[Path, tuple[str, ...]]:
    listed = folder / "items.csv"
    listed.write_text(items)
    report = run_import("csv", orders(folder), folder / "data", ImportOptions(columns=COLUMNS, items=listed))
    return folder / "data", report.notes


def test_the_list_is_the_catalogue_whatever_occurs(tmp_path: Path) -> None:
    data, notes = imported(tmp_path, "item,title\n" + "".join(f"{number},thing {number}\n" for number in range(3, 20)))
    for market in ("in", "jp"):
        store = open_store(data / market)
        assert set(store.catalogue["item_id"]) == {str(number) for number in range(3, 20)}
        assert store.items == 12
        assert f"market {market}: 3 of 12 items that occur are not declared" in " ".join(notes)
    assert store.catalogue.filter(item_id="19")["title"].to_list() == ["thing 19"]


def test_each_market_may_have_its_own(tmp_path: Path) -> None:
    rows = [f"{number},{market}" for market, most in (("IN", 12), ("jp", 15)) for number in range(most)]
    data, notes = imported(tmp_path, "\n".join(["item,market", *rows]) + "\n")
    assert [open_store(data / market).catalogue.height for market in ("in", "jp")] == [12, 15]
    assert not any("not declared" in note for note in notes)


@pytest.mark.parametrize("private", [False, True])
def test_runs_go_over_it(private: bool, tmp_path: Path) -> None:
    """Under privacy its size is what is told; without, items that are sold and not listed are ranked too."""
    data, _ = imported(tmp_path, "item,title\n" + "".join(f"{number},thing {number}\n" for number in range(3, 20)))
    own = ["evaluation.methods=[federated]", "federation.rounds=1", "privacy.batch_size=20", "privacy.accountant=rdp"]
    recipe = load_recipe("fecosr", [*QUICK, *own, *(["privacy.epsilon=8", "privacy.delta=1e-3"] if private else [])])
    summary = prepare_simulation(recipe, data, tmp_path / "run").start()
    assert summary["markets"]["in"]["items"] == (17 if private else 12)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("sku\n1\n", "column 'sku' is none of them"),
        ("title\nx\n", "column 'item' is missing"),
        ("item\n", "holds no rows"),
        ("item\n1\n1\n", "row 3: item '1' is listed twice|row 2: item '1' is listed twice"),
        ("item\n1\n\n", "row 3: item|missing"),
        ("item,market\n1,in\n", "no rows of market 'jp'"),
        ("item,market\n1,in\n1,IN\n2,jp\n", "listed twice"),
        ('item\n"1\n', "not readable|unbalanced|quote"),
    ],
)
def test_a_list_that_cannot_be_says_so(items: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(FedrecError, match=words) as error:
        imported(tmp_path, items)
    assert len(str(error.value).splitlines()) <= 2
    assert not (tmp_path / "data").exists()


def test_so_has_xmarket(tmp_path: Path) -> None:
    source = tmp_path / "files"
    source.mkdir()
    for market in ("in", "jp"):
        rows = [f"{market}-{user} {item} 5.0 2020-01-0{item + 1}" for user in range(3) for item in range(4)]
        (source / f"{market}_5core.txt").write_text("\n".join(["userId itemId rate date", *rows]) + "\n")
    listed = tmp_path / "items.csv"
    listed.write_text("item\n1\n2\n9\n")
    plain = run_import("xmarket-5core", source, tmp_path / "plain")
    report = run_import("xmarket-5core", source, tmp_path / "data", ImportOptions(items=listed))
    for market in ("in", "jp"):
        assert open_store(tmp_path / "data" / market).catalogue["item_id"].to_list() == ["1", "2", "9"]
        assert f"market {market}: 2 of 4 items that occur are not declared" in " ".join(report.notes)
        assert open_store(tmp_path / "data" / market).items_declared
        assert not open_store(tmp_path / "plain" / market).items_declared
    assert "not declared" not in " ".join(plain.notes)
