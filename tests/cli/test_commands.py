"""recommend, report, adapt, resume: what a person sees, right and wrong."""

import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from fedrec.cli.main import app, exit_code
from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.data.store import open_store
from fedrec.data.store_writer import write_store
from fedrec.errors import UserError
from fedrec.recipe import Recipe, load_recipe
from fedrec.report.tables import print_lines, print_table
from fedrec.runs.shared import read_shared_model
from fedrec.simulation.adapt import prepare_adaptation
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation
from fedrec.words import unseen
from tests.conftest import QUICK
from tests.integration.harness import quick

SETTINGS = ("semantics.kind=cooccurrence", "evaluation.methods=[federated, local, popularity, itemknn, ease, fedease]")


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two of the three markets."""
    out = tmp_path_factory.mktemp("finished") / "run"
    prepare_simulation(quick(*SETTINGS, "data.markets=[alfa, bravo]"), synthetic, out).start()
    return out


Fedrec = Callable[..., str]


@pytest.fixture
def fedrec(capsys: pytest.CaptureFixture[str]) -> Fedrec:
    """The command line in this process: what it says on standard output, or what it complains of."""

    def call(*arguments: str | Path, code: int = 0) -> str:
        found = exit_code(lambda: app([str(argument) for argument in arguments], standalone_mode=False))
        said = capsys.readouterr()
        assert found == code, said.err
        if code:
            assert 1 <= len(said.err.splitlines()) <= 2
        return said.err if code else said.out

    return call


def test_recommendations_leave_out_what_the_person_has(finished: Path, synthetic: Path) -> None:
    """Ten distinct items of the catalogue, none of the user's own, best score first, by every method."""
    interactions = open_store(synthetic / "alfa").interactions
    own = set(interactions.filter(interactions["user_id"] == "alfa-00007")["item_id"])
    for method in (None, "federated_without_prior", "local", "fedease", "ease", "itemknn", "popularity"):
        found = Recommender.open(finished, "alfa").recommend(user="alfa-00007", method=method)
        items = [entry.item for entry in found.items]
        assert len(set(items)) == 10
        assert not own & set(items)
        assert [entry.score for entry in found.items] == sorted((e.score for e in found.items), reverse=True)
        assert found.method == (method or "federated")
        assert all(entry.text for entry in found.items)


@pytest.mark.parametrize("method", [None, "popularity", "ease"])
def test_everybody_has_what_each_has_alone(finished: Path, synthetic: Path, method: str | None) -> None:
    recommender = Recommender.open(finished, "alfa")
    users = sorted(set(open_store(synthetic / "alfa").interactions["user_id"]))
    found = recommender.recommend_all(k=4, method=method)
    assert found["user"].unique(maintain_order=True).to_list() == users
    few = recommender.recommend_all([users[9], users[3]], k=4, method=method)
    assert few["user"].unique(maintain_order=True).to_list() == [users[9], users[3]]
    for user in users[::7]:
        alone = recommender.recommend(user=user, k=4, method=method).items
        together = found.filter(user=user)
        assert together["item"].to_list() == [one.item for one in alone]
        assert together["rank"].to_list() == list(range(1, len(alone) + 1))
        assert together["score"].to_list() == pytest.approx([one.score for one in alone], abs=1e-5)
    assert recommender.recommend_all([]).columns == found.columns
    stock = [one.item for one in recommender.recommend(user=users[0], k=9, method=method).items][3:]
    left = recommender.recommend_all([users[0]], k=2, method=method, items=stock)
    assert left["item"].to_list() == stock[:2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"users": ["nobody"]}, "users: 'nobody' is not in market 'alfa'"),
        ({"users": "alfa-00001"}, "a list of user ids, not a text"),
        ({"users": [4711]}, "users: 4711 is no text"),
        ({"items": [None]}, "items: None is no text"),
        ({"items": ["no such item"]}, "1 of 1 are not sold in 'alfa', such as 'no such item'"),
        ({"items": "item-00003"}, "a list of item keys, not a text"),
        ({"k": 0}, "ask for one item at least"),
        ({"method": "magic"}, "this run has"),
    ],
)
def test_what_of_everybody_cannot_be(words: dict[str, Any], said: str, finished: Path) -> None:
    with pytest.raises(UserError, match=said):
        Recommender.open(finished, "alfa").recommend_all(**words)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_everybody_into_a_file(suffix: str, finished: Path, tmp_path: Path, fedrec: Fedrec) -> None:
    out, stock = tmp_path / f"all.{suffix}", tmp_path / "stock.txt"
    known = Recommender.open(finished, "alfa").recommend_all(k=1)["item"].unique().to_list()[:2]
    stock.write_text("\n".join([*known, ""]))
    shown = fedrec("recommend", finished, "--market", "alfa", "--all", "--out", out, "-k", "1", "--items", stock)
    assert out.name in shown
    found = pl.read_parquet(out) if suffix == "parquet" else pl.read_csv(out)
    assert found.columns == ["user", "rank", "item", "score"]
    assert set(found["item"]) <= set(known)
    for words, said in (
        (("--all",), "needs a file that ends with .parquet or .csv"),
        (("--all", "--out", out, "--user", "u"), "--user: is of one person"),
        (("--user", "u", "--out", out), "--out: goes with --all alone"),
    ):
        assert said in fedrec("recommend", finished, "--market", "alfa", *words, code=2)


def test_popularity_recommends_by_counting(finished: Path, synthetic: Path) -> None:
    """Everyone's interactions but the last (each user's test), counted in plain Python."""
    counts: dict[str, int] = {}
    histories: dict[str, dict[str, None]] = {}
    for user, item, *_ in open_store(synthetic / "bravo").interactions.sort("timestamp", maintain_order=True).rows():
        histories.setdefault(user, {}).setdefault(item)
    for items in histories.values():
        for item in list(items)[: len(items) - 1 if len(items) >= 3 else 0]:
            counts[item] = counts.get(item, 0) + 1
    best = max(counts.values())
    found = Recommender.open(finished, "bravo").recommend(history=["no-such-item"], k=1)
    assert found.items[0].score == best
    assert counts[found.items[0].item] == best
    assert found.method == "popularity"
    assert any("no known item" in note for note in found.notes)


def test_unknown_and_unseen_items_are_said(finished: Path, synthetic: Path) -> None:
    """An item that only ever was somebody's test item is in the catalogue, but nobody's training has it."""
    rows = open_store(synthetic / "alfa").interactions.sort("timestamp", maintain_order=True).rows()
    histories: dict[str, dict[str, None]] = {}
    for user, item, *_ in rows:
        histories.setdefault(user, {}).setdefault(item)
    trained = {item for items in histories.values() for item in list(items)[:-2]}
    unseen = sorted({item for items in histories.values() for item in items} - trained)
    known = sorted(trained)[0]
    history = [known, "zzz", *unseen[:1]]
    found = Recommender.open(finished, "alfa").recommend(history=history)
    assert any("left out: zzz" in note for note in found.notes)
    if unseen:
        assert any(f"semantics alone: {unseen[0]}" in note for note in found.notes)
    assert found.method == "federated"
    assert not {known, *unseen[:1]} & {entry.item for entry in found.items}


def test_the_order_of_a_history_matters(finished: Path) -> None:
    """A sequential model, alone: the last item weighs most."""
    keys = ["item-00001", "item-00009", "item-00040", "item-00055"]
    scores = [
        {
            entry.item: entry.score
            for entry in Recommender.open(finished, "alfa").recommend(history=order, method=METHOD, k=99).items
        }
        for order in (keys, keys[::-1])
    ]
    common = sorted(set(scores[0]) & set(scores[1]))
    assert not np.allclose([scores[0][key] for key in common], [scores[1][key] for key in common])


METHOD = "federated_without_prior"


def test_what_a_person_reads(finished: Path, fedrec: Fedrec) -> None:
    shown = fedrec("recommend", finished, "--market", "alfa", "--history", "item-00003,zzz", "-k", "3")
    lines = shown.splitlines()
    assert lines[0] == "alfa: for a history of 2, by federated"
    assert len([line for line in lines if line.startswith(("1 ", "2 ", "3 "))]) == 3
    assert "note: not in the catalogue of 'alfa', left out: zzz" in shown
    report = fedrec("report", finished, "--metric", "recall@10")
    assert "RECALL@10: federated minus ..." in report
    assert "RECALL@10: fedease minus ..." in report
    assert "rounds: 3" in report


def test_a_market_that_never_took_part_adapts(finished: Path, synthetic: Path, tmp_path: Path) -> None:
    """No rounds, nothing but keys and means leaves it; the shared parameters are where its fine-tuning starts."""
    simulation = prepare_adaptation(finished, synthetic, tmp_path / "run", ["data.markets=[charlie]"])
    summary = simulation.start()
    assert summary["rounds"] == []
    assert set(summary["markets"]) == {"charlie"}
    assert {"federated", "local", "popularity", "itemknn", "ease"} <= set(summary["mean"])
    ledger = [json.loads(line) for line in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    assert {entry["kind"] for entry in ledger} == {"scalar", "text"}
    frozen = ["data.markets=[charlie]", "finetune.epochs=0", "evaluation.methods=[federated]"]
    copied = tmp_path / "export"
    shutil.copytree(finished / "shared", copied)
    prepare_adaptation(copied, synthetic, tmp_path / "frozen", frozen).start()
    from safetensors.numpy import load_file

    started = load_file(tmp_path / "frozen" / "markets" / "charlie" / "federated.safetensors")
    for name, value in read_shared_model(finished / "shared").parameters.items():
        np.testing.assert_array_equal(started[name], value)
    figures = Recommender.open(tmp_path / "run", "charlie").recommend(history=["item-00003"])
    assert figures.items


def test_a_market_without_an_evaluation_has_nothing_to_recommend(finished: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    for name in ("report.json", "seal.json"):  # as where it was never evaluated
        (copied / "markets" / "alfa" / name).unlink()
    with pytest.raises(UserError, match="its evaluation failed"):
        Recommender.open(str(copied), "alfa")
    with pytest.raises(UserError, match="a list of item keys, not a text"):
        Recommender.open(str(copied), "bravo").recommend("item-00003")


def test_a_markets_words_are_no_markup() -> None:
    """Item titles and reasons come from elsewhere: nothing in them may colour, vanish or fail."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, markup=False)
    print_table(console, "t", ["item", "text"], [["a", "cable [/usb]"], ["b", "cable [red] x"]])
    assert "cable [/usb]" in stream.getvalue()
    assert "cable [red] x" in stream.getvalue()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["encoder.heads=1"], "made with other values"),
        (["model.dimension=8"], "made with other values"),
        (["seed=1"], "made with other values"),
        (["loss.tau=0.2"], "made with other values"),
        (["evaluation.methods=[ease]"], "adapt needs federated"),
        (["evaluation.methods=[federated, pooled]"], "adapt needs federated"),
        (["data.markets=[zulu]"], "zulu not in"),
    ],
)
def test_an_adaptation_that_cannot_be(
    overrides: list[str], said: str, finished: Path, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        prepare_adaptation(finished, synthetic, tmp_path / "run", overrides)
    assert not (tmp_path / "run").exists()


MISTAKES = {
    "recommend from nothing": (["recommend", "nowhere", "--market", "alfa", "--user", "u"], "not a run folder"),
    "no market": (["recommend", "{run}", "--market", "zulu", "--user", "u"], "it has alfa, bravo"),
    "no user": (["recommend", "{run}", "--market", "alfa", "--user", "nobody"], "--user 'nobody'"),
    "nobody named": (["recommend", "{run}", "--market", "alfa"], "--user, or give --history"),
    "both named": (["recommend", "{run}", "--market", "alfa", "--user", "u", "--history", "a"], "one of them"),
    "no items": (["recommend", "{run}", "--market", "alfa", "--history", "a", "-k", "0"], "-k 0"),
    "no method": (["recommend", "{run}", "--market", "alfa", "--history", "a", "--method", "x"], "--method 'x'"),
    "report on nothing": (["report", "{data}"], "not a run folder"),
    "no metric": (["report", "{run}", "--metric", "auc"], "--metric 'auc'"),
    "resume nothing": (["run", "--resume", "{data}"], "not a run folder"),
    "resume what is done": (["run", "--resume", "{run}"], "finished already"),
    "resume with more": (["run", "--resume", "{run}", "--seed", "3"], "leave out --seed"),
    "resume a changed recipe": (["run", "--resume", "{changed}"], "loss.lam is 0.9"),
    "adapt from nothing": (["adapt", "{data}", "{data}"], "no shared model"),
    "adapt to nothing": (["adapt", "{run}", "nowhere"], "no such data folder"),
    "csv without mapping": (["data", "import", "csv", "t.csv", "new"], "--map: user is missing"),
    "csv with a bad role": (["data", "import", "csv", "x", "new", "--map", "who=a"], "roles: user"),
    "csv that is none": (["data", "import", "csv", "nowhere.csv", "new", "--map", "user=a"], "no such file"),
    "deadline without processes": (["run", "--set", "federation.deadline_seconds=3"], "engine.workers=1"),
    "global time without a date": (["run", "--set", "evaluation.protocol=global-time"], "evaluation.cut_date"),
    "a number for a date": (
        ["run", "--set", "evaluation.protocol=global-time", "--set", "evaluation.cut_date=20200101"],
        "a date is written YYYY-MM-DD",
    ),
    "a key and its section": (
        ["run", "--set", "federation.rounds=1", "--set", "federation={{patience: 7}}"],
        "federation.rounds is given too",
    ),
    "a seed twice": (["run", "--seed", "5", "--set", "seed=7"], "--seed 5: seed is given with --set too"),
    "a key twice": (
        ["run", "--set", "seed=1", "--set", "loss.lam=0", "--set", "seed=2"],
        "'seed=2': the key is given twice",
    ),
    "a date for nothing": (["run", "--set", "evaluation.cut_date=2020-01-01"], "evaluation.cut_date"),
    "baskets under acmr": (
        ["run", "--set", "evaluation.protocol=acmr", "--set", "evaluation.holdout=basket"],
        "for protocols family and temporal",
    ),
    "a model for hashing": (["run", "--set", "semantics.model=x"], "has no model"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_end_in_two_lines_and_exit_2(
    arguments: list[str],
    said: str,
    finished: Path,
    synthetic: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fedrec: Fedrec,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("who,what\nu,a\n")
    changed = tmp_path / "changed"
    if "{changed}" in arguments:
        shutil.copytree(finished, changed)
        (changed / "summary.json").unlink()
        recipe = (changed / "recipe.yaml").read_text()
        (changed / "recipe.yaml").write_text(recipe.replace("lam: 0.3", "lam: 0.9"))
    filled = [argument.format(run=finished, data=synthetic, changed=changed) for argument in arguments]
    assert said in fedrec(*filled, code=2)
    assert not list(tmp_path.glob("runs/*"))
    assert not (tmp_path / "new").exists()


# histories as people write them


def test_histories_may_hold_commas_and_come_in_every_way(tmp_path: Path, fedrec: Fedrec) -> None:
    """Repeated options, a line of CSV, a file; a value that is an item, comma and all, is it; either Unicode form."""
    rows = [
        ("u1", "A,1", 1), ("u1", "B,2", 2), ("u1", "Café", 3), ("u1", "d", 4),
        ("u2", "B,2", 1), ("u2", "A,1", 2), ("u2", "d", 3), ("u2", "Café", 4),
        ("u3", "A", 1), ("u3", "d", 2), ("u3", "A,1", 3),
    ]  # fmt: skip
    frame = pl.DataFrame(
        [(user, item, 1_500_000_000 + day * 86400, 1.0) for user, item, day in rows],
        schema=["user_id", "item_id", "timestamp", "value"],
        orient="row",
    )
    write_store(tmp_path / "data" / "fr", "fr", frame, source="test", time_resolution="day")
    recipe = load_recipe("baselines", ["evaluation.methods=[popularity]", "evaluation.catalogue=all"])
    prepare_simulation(recipe, tmp_path / "data", tmp_path / "run").start()
    (tmp_path / "h.txt").write_text("A,1\nCafe\u0301\n", encoding="utf-8")
    command = ("recommend", tmp_path / "run", "--market", "fr", "-k", "9")
    for given in (
        ("--history", "A,1", "--history", "Café"),
        ("--history", '"A,1",Café'),
        ("--history", '"A,1", "Cafe\u0301"'),
        ("--history-file", tmp_path / "h.txt"),
    ):
        said = fedrec(*command, *given)
        assert "left out" not in said
        assert "for a history of 2" in said
        assert {line.split()[1] for line in said.splitlines() if line[:1].isdigit()} == {"B,2", "d", "A"}
    assert "a history of 3" in fedrec(*command, "--history", "A,d", "--history", "B,2")
    assert "a quote is opened and not closed" in fedrec(*command, "--history", '"A', code=2)
    assert "--history or --history-file" in fedrec(*command, code=2)


# words that a terminal would obey


ORDERS = "cable\x1b[2J\x1b]0;owned\x07 \u202eesrever\u202c\u2028 \x9b31m"


@pytest.mark.parametrize("terminal", [True, False])
def test_no_table_lets_a_text_order_the_terminal_about(terminal: bool) -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=terminal, width=200, markup=False, color_system=None)
    print_table(console, ORDERS, ["item", ORDERS], [["a", ORDERS], [ORDERS, "b"]], ORDERS)
    print_lines(console, [ORDERS])
    assert unseen(buffer.getvalue().replace("\n", "")) == []
    assert buffer.getvalue().count("owned") == 6


def test_texts_of_items_are_cleaned_where_they_enter(tmp_path: Path) -> None:
    """What joins letters within words stays."""
    frame = pl.DataFrame(
        {"who": ["u"] * 2, "what": ["a", "b"], "when": ["2020-01-01"] * 2, "name": [ORDERS, "\u0645\u06cc\u200c\u062e"]}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    columns = {"user": "who", "item": "what", "time": "when", "title": "name"}
    run_import("parquet", tmp_path / "t.parquet", tmp_path / "data", ImportOptions(columns, market="fr"))
    titles = open_store(tmp_path / "data" / "fr").catalogue["title"].to_list()
    assert titles == ["cable [2J ]0;owned   esrever   31m", "\u0645\u06cc\u200c\u062e"]


@pytest.mark.parametrize(
    "closed", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("2>&-", "1>&- 2>&-")), "0<&- 1>&- 2>&-"]
)
def test_a_closed_stream_loses_words_and_nothing_else(closed: str, synthetic: Path, tmp_path: Path) -> None:
    """A file that is opened next must not take the number of standard error, nor be unreadable without it."""
    out = tmp_path / "again"
    program = "import sys; from fedrec.cli.main import main; sys.argv[0] = 'fedrec'; main()"
    words = [sys.executable, "-c", program, "run", "fecosr", "-q", "--data", str(synthetic), "--out", str(out)]
    for setting in (*QUICK, "evaluation.methods=[popularity]"):
        words += ["--set", setting]
    line = shlex.join(words)
    assert subprocess.run(["bash", "-c", f"{line} {closed}"], timeout=120).returncode == 0
    assert json.loads((out / "summary.json").read_text())["mean"]["popularity"]


# models that are not what was trained


def reseal(folder: Path) -> None:
    """As if all that lies there were what the run left."""
    sealed = json.loads((folder / "seal.json").read_text())
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sealed}
    (folder / "seal.json").write_text(json.dumps(found))


def test_a_model_of_another_form_recommends_nothing(finished: Path, tmp_path: Path, fedrec: Fedrec) -> None:
    """Other names or shapes: strictly what the recipe builds, even where whoever changed it changed hashes too."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    path = run / "markets" / "alfa" / "federated.safetensors"
    note = json.loads((path.parent / "federated.json").read_text())
    trained = load_file(path)
    first = next(iter(trained))
    spoilt = {
        "renamed": {f"other.{name}": array for name, array in trained.items()},
        "one less": {name: array for name, array in trained.items() if name != first},
        "one more": {**trained, "extra": trained[first]},
        "cut": {**trained, first: trained[first][:1]},
        "other numbers": {**trained, first: trained[first] + 1},
    }
    for what, arrays in spoilt.items():
        save_file(arrays, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (path.parent / "federated.json").write_text(json.dumps({**note, "sha256": digest}))
        reseal(path.parent)
        code = 0 if what == "other numbers" else 2
        said = fedrec("recommend", run, "--market", "alfa", "--user", "alfa-00007", code=code)
        assert code == 0 or "federated.safetensors" in said


def test_nothing_else_is_used_in_place_of_what_was_evaluated(finished: Path, tmp_path: Path, fedrec: Fedrec) -> None:
    """Every file that a method is made of, and the recipe: changed, missing, or come later, it is named."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    folder = run / "markets" / "alfa"
    sealed = json.loads((folder / "seal.json").read_text())
    assert {"recipe.json", "report.json", "mixing.json", "federated.safetensors", "federated.json"} <= set(sealed)
    ask = ("recommend", run, "--market", "alfa", "--user", "alfa-00007")
    good = fedrec(*ask)
    for path in (*(folder / name for name in sealed), folder / "seal.json", run / "recipe.yaml"):
        content = path.read_bytes()
        if path.suffix == ".yaml":
            path.write_bytes(content.replace(b"seed: 0", b"seed: 1"))
        else:
            path.write_bytes(content + b" " if path.name != "seal.json" else b"{}")
        assert path.name in fedrec(*ask, code=2) or path.name == "seal.json"
        if path.suffix != ".yaml":
            path.unlink()
            assert re.search(f"{path.name}: (missing|No such file)", fedrec(*ask, code=2))
        path.write_bytes(content)
    (folder / "codes-federated.safetensors").write_bytes(b"new")
    assert "codes-federated.safetensors: not what the run left" in fedrec(*ask, code=2)
    (folder / "codes-federated.safetensors").unlink()
    assert fedrec(*ask) == good


def test_a_run_without_a_recipe_takes_the_best_on_data_and_the_demo_on_none(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    class EnoughError(Exception):
        """What was asked is known."""

    def prepare(recipe: Recipe, *_: object, **__: object) -> None:
        taken.append(recipe.name)
        raise EnoughError

    monkeypatch.setattr("fedrec.simulation.run.prepare_simulation", prepare)
    for words in (["--data", str(synthetic)], [], ["--quick"], ["fecosr", "--data", str(synthetic)]):
        with pytest.raises(EnoughError):
            app(["run", *words, "--out", str(tmp_path / "run")], standalone_mode=False)
    assert taken == ["ranker", "fecosr", "fecosr", "fecosr"]
