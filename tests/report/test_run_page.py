"""A run's page: whole, self-contained, told to those who cannot see it, and with the figures of the summary."""

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from fedrec.report.run_figures import CodeUse, attendance_figure, code_overlap
from fedrec.report.tables import common_means
from fedrec.report.words import answer, remarks
from fedrec.runs.folder import RunFolder
from fedrec.simulation.run import prepare_simulation
from fedrec.simulation.run_page import write_page
from tests.conftest import QUICK

METHODS = ["federated", "local", "popularity", "ease"]


class Page(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> Path:
    path = tmp_path_factory.mktemp("page") / "run"
    prepare_simulation(load_recipe("fecosr", QUICK), synthetic, path).start()
    write_page(path)
    return path


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_nothing_is_loaded_and_every_link_leads_somewhere(run: Path) -> None:
    page = Page(run / "report.html")
    identifiers = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(identifiers.values()) == 1
    assert not [tag for tag, _ in page.elements if tag in {"script", "img", "link", "iframe"}]
    for _, attributes in page.elements:
        for name in ("href", "src", "xlink:href"):
            link = attributes.get(name, "#")
            assert link == "#" or link.removeprefix("#") in identifiers, link
    assert "url(http" not in (run / "report.html").read_text()


def test_every_figure_has_words_data_and_drawings(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    drawings = ["<svg" + part.partition("</svg>")[0] + "</svg>" for part in text.split("<svg")[1:]]
    names = set()
    for drawing in drawings:
        root = ET.fromstring(drawing)  # noqa: S314  our own
        title, description = (root.find(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "desc"))
        assert root.get("role") == "img"
        assert title is not None
        assert description is not None
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert len(title.text or "") > 10
        assert len(description.text or "") > 20
        names.add(str(title.get("id")).removesuffix("-title"))
    assert names == {"results", "gain", "convergence", "rounds", "items"}
    assert {path.name for path in (run / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("csv", "svg", "png")
    }
    assert all((run / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in names)


def test_the_data_of_the_figures_are_the_summarys(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    *markets, mean = cells(run / "figures" / "results.csv")
    assert [row["market"] for row in markets] == ["alfa", "bravo", "charlie"]
    for row in markets:
        results = summary["markets"][row["market"]]["results"]
        assert {method: float(row[method]) for method in METHODS} == {m: results[m]["ndcg@10"] for m in METHODS}
    assert float(mean["federated"]) == pytest.approx(np.mean([float(row["federated"]) for row in markets]))
    gains = {row["market"]: (float(row["low"]), float(row["high"])) for row in cells(run / "figures" / "gain.csv")}
    known = {name: market["gain"]["ndcg@10"] for name, market in summary["markets"].items()}
    assert gains == {name: (gain["low"], gain["high"]) for name, gain in known.items()}
    rounds = cells(run / "figures" / "rounds.csv")
    assert sum(int(row["bytes_up"]) for row in rounds) == sum(one["bytes_up"] for one in summary["rounds"])
    convergence = cells(run / "figures" / "convergence.csv")
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    validated = {one["validated"]: one["validation_before"] for one in events if one["event"] == "round"}
    (last,) = (one for one in events if one["event"] == "validated")
    validated[last["round"]] = last["validation"]  # what the last round made is on the curve too
    assert {int(row["after_round"]): float(row["validation"]) for row in convergence} == validated
    items = Counter(row["market"] for row in cells(run / "figures" / "items.csv"))
    assert items == {name: market["catalogue"] for name, market in summary["markets"].items()}


def test_it_is_written_the_same_again_and_without_the_data_too(run: Path, tmp_path: Path) -> None:
    files = {path: path.read_bytes() for path in [run / "report.html", *(run / "figures").iterdir()]}
    write_page(run)
    assert {path: path.read_bytes() for path in files} == files
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["data"]["folder"] = str(tmp_path / "gone")
    (moved / "manifest.json").write_text(json.dumps(manifest))
    assert "Items of all markets" in Page(write_page(moved)).text  # what could not be made again stays
    (moved / "report.html").unlink()
    page = Page(write_page(moved))
    assert "Items of all markets" not in page.text
    assert "Reproduce" in page.text
    (moved / "summary.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        write_page(moved)


def test_what_markets_say_is_text_and_never_markup(run: Path, tmp_path: Path) -> None:
    """Reasons come from markets, and nobody vouches for them."""
    spoilt = tmp_path / "spoilt"
    shutil.copytree(run, spoilt)
    summary = json.loads((spoilt / "summary.json").read_text())
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    summary["failed"] = [{"market": "alfa", "action": "train.finetune", "reason": attack}]
    summary["rounds"][0]["rejected"] = [{"market": "bravo", "reason": attack}]
    summary["rounds"][0]["accepted"] = ["alfa", "charlie"]
    (spoilt / "summary.json").write_text(json.dumps(summary))
    write_page(spoilt)
    page = Page(RunFolder.open(spoilt).path / "report.html")
    assert not [tag for tag, _ in page.elements if tag in {"script", "img"}]
    assert page.text.count(attack) >= 2
    states = {(row["round"], row["market"]): row["state"] for row in cells(spoilt / "figures" / "attendance.csv")}
    assert states["1", "bravo"] == "rejected"
    assert Counter(states.values()) == {"accepted": 8, "rejected": 1}


def interval(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high}


def summary_of(
    mean: dict[str, float], metric: str = "ndcg@10", protocol: str = "family", **gains: Any
) -> dict[str, Any]:
    found = {name: {metric: value} for name, value in mean.items()}
    return {
        "protocol": protocol,
        "mean": found,
        "markets": {
            name: {"gain": {metric: interval(*gain)}, "results": dict(found), "outside": None}
            for name, gain in gains.items()
        },
        "failed": [],
        "rounds": [],
        "best_round": None,
        "decided_by": None,
        "kept_first": [],
    }


def test_means_beside_each_other_are_over_the_same_markets() -> None:
    """In fr, the easy market, federated failed: .1 against .1, not .1 against the .3 that local has with fr."""
    summary = summary_of({"federated": 0.1, "local": 0.1}, jp=(0, -1, 1), uk=(0, -1, 1), fr=(0, -1, 1))
    del summary["markets"]["fr"]["results"]["federated"]
    summary["markets"]["fr"]["results"]["local"] = {"ndcg@10": 0.7}
    summary["mean"]["local"] = {"ndcg@10": 0.3}
    assert common_means(summary, "ndcg@10") == ({"federated": 0.1, "local": 0.1}, ["jp", "uk"])
    assert answer(summary, "ndcg@10").startswith("Over 2 of 3 markets, federated reaches a mean NDCG@10 of 0.1000, ")
    assert "Means leave out fr, where not every method has a figure." in remarks(summary, "ndcg@10")


def test_the_answer_in_words() -> None:
    figures = {"federated": 0.12, "local": 0.1, "popularity": 0.05, "ease": 0.15, "pooled": 0.2}
    summary = summary_of(figures, jp=(0.1, 0.01, 0.2), fr=(0.0, -0.1, 0.1), uk=(-0.1, -0.2, -0.01))
    assert answer(summary, "ndcg@10") == (
        "Over 3 markets, federated reaches a mean NDCG@10 of 0.1200, against 0.1000 by the same model in one market "
        "alone (+20.0%) and 0.1500 by the best baseline, EASE (-20.0%). Learning together helps in 1 of 3 markets and "
        "harms in 1, counting those whose 95 % interval excludes zero."
    )
    assert remarks(summary, "ndcg@10")[:2] == [
        "Better than federated: EASE, 0.1500.",
        "With all histories in one place, which no federation may have, the same model reaches 0.2000.",
    ]


def test_a_loss_is_better_when_it_is_lower() -> None:
    summary = summary_of({"federated": 0.5, "local": 0.6, "nocodes": 0.4}, "logloss", "ctr", jp=(-0.1, -0.2, -0.05))
    assert "helps in 1 of 1 markets and harms in none" in answer(summary, "logloss")
    assert remarks(summary, "logloss")[0] == "Better than federated: no codes, 0.4000."


def test_floors_alone_and_figures_withheld() -> None:
    assert answer(summary_of({"popularity": 0.2, "ease": 0.1}, jp=(0, 0, 0)), "ndcg@10").startswith(
        "The best mean NDCG@10 over 1 markets is 0.2000, by popularity."
    )
    assert "no figures of users left" in answer(summary_of({}), "ndcg@10")


def test_overlap_of_codes() -> None:
    use = CodeUse(1, {"a": np.array([5, 5, 0]), "b": np.array([0, 0, 3]), "c": np.array([1, 0, 1])})
    names, overlap = code_overlap(use)
    assert names == ["a", "b", "c"]
    np.testing.assert_allclose(overlap, [[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 1]])


def test_who_always_came_needs_no_figure() -> None:
    whole = {"accepted": ["a", "b"], "rejected": []}
    assert attendance_figure([whole, whole], ["a", "b"]) is None
    figure = attendance_figure([whole, {"accepted": ["a"], "rejected": []}], ["a", "b"])
    assert figure is not None
    assert [row[2] for row in figure.rows] == ["accepted", "accepted", "accepted", "not asked"]
