"""What is told of memory before anything is trained."""

from pathlib import Path

import pytest

from fedrec import memory_plan
from fedrec.errors import RunError, UserError
from fedrec.memory_plan import Part, free_memory, sparse_models, too_large
from fedrec.recipe import load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.run import open_finished, prepare_simulation, resume_simulation
from tests.conftest import quickly


def total(recipe, *sizes):
    return sum(part.bytes for part in memory_plan.memory_plan(recipe, *sizes))


def test_what_a_matrix_takes_and_what_sparse_weights_take():
    recipe = load_recipe("baselines")
    assert total(recipe, 1000, 10_000) == (4 * 8 + 2 * 4) * 10_000**2
    assert sparse_models(recipe, 10_001)
    assert not sparse_models(recipe, 10_000)
    assert total(recipe, 1000, 200_000) < 5e9
    assert total(recipe, 60_000, 200_000, 700_000) < 1e9, "few pairs: less than the most that a column may have"


def test_no_item_models_no_part():
    assert total(load_recipe("baselines", ["evaluation.methods=[popularity]"]), 1000, 100_000) == 0
    assert total(load_recipe("fedmm"), 1000, 10_000) == 0


def test_over_the_items_of_all_markets_there_is_more():
    """While they are weighed: what a market keeps is of its own items."""
    before, after = (load_recipe("fedease", [f"fedease.restrict={when}"]) for when in ("before", "after"))
    sizes = (1000, 2000, 50_000, 9000)
    assert total(after, *sizes) - total(before, *sizes) == 8 * 4 * 9000**2
    assert total(after, *sizes[:-1]) == total(before, *sizes[:-1])
    plan = {"alfa": memory_plan.memory_plan(after, *sizes)}
    assert "set fedease.restrict to before" in str(too_large(plan, 1e9))
    assert total(after, 1000, 2000, 50_000, 200_000) < 3e9, "sparse"


def test_a_ranker_lists_candidates_of_every_user():
    recipe = load_recipe("ranker")
    few, many = (total(recipe, users, 5000) - total(recipe, 0, 5000) for users in (1_000, 100_000))
    assert many == pytest.approx(100 * few)
    assert 1e9 < many < 1e10


def test_markets_that_do_not_fit_together():
    plans = {"alfa": [Part("a matrix", 3e9, "make it smaller")], "bravo": [Part("a table", 1e9, "cut it")]}
    assert too_large(plans, 4e9) is None
    waiting = {name: [Part("a matrix", 1e9, "make it smaller", passing=3e9)] for name in ("alfa", "bravo")}
    assert too_large(waiting, 5e9) is None, "one is made after the other"
    assert "up to 8.0 GB" in str(too_large(waiting, 5e9, at_once=2))
    assert too_large(plans, None) is None
    assert too_large(plans, 3.9e9) == (
        "alfa, bravo: up to 4.0 GB of memory are needed and 3.9 are free; most of it (3.0 GB) is a matrix of alfa: "
        "make it smaller"
    )


def test_a_container_may_hold_less_than_its_machine(tmp_path: Path, monkeypatch):
    for name, text in {
        "memory.max": "3000\n",
        "memory.current": "1200\n",
        "memory.stat": "anon 5\ninactive_file 200\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert memory_plan._of_container(tmp_path) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_plan._of_container(tmp_path) is None
    assert memory_plan._of_container(tmp_path / "none") is None
    monkeypatch.setattr(memory_plan, "_of_container", lambda: 2000.0)
    assert free_memory() == 2000


def test_a_run_that_does_not_fit_is_refused_before_it_begins(synthetic: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("fedrec.simulation.run.free_memory", lambda: 1e5)
    with pytest.raises(UserError, match=r"alfa, bravo, charlie: up to 0\.0 GB .* set ease\.dense_items below"):
        prepare_simulation(load_recipe("fecosr", quickly()), synthetic, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_market_refuses_what_its_host_cannot_hold(synthetic: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("fedrec.clients.tasks.free_memory", lambda: 1e4)
    simulation = prepare_simulation(load_recipe("fecosr", quickly()), synthetic, tmp_path / "run")
    with pytest.raises(Exception, match=r"this host.s memory does not hold what the recipe keeps"):
        simulation.start()


def test_what_is_replaced_is_said(synthetic: Path, tmp_path: Path):
    """And it works: sparse weights in the prior, in federated EASE and in the ranker."""
    methods = "evaluation.methods=[federated, ease, itemknn, fedease]"
    quick = {"fecosr": quickly(methods), "ranker": [methods, "federation.rounds=3"]}
    for recipe, words in quick.items():
        out = tmp_path / recipe
        sparse = [*words, "ease.dense_items=20", "ease.neighbours=30"]
        run = prepare_simulation(load_recipe(recipe, sparse), synthetic, out)
        dense = prepare_simulation(load_recipe(recipe, words), synthetic, tmp_path / f"{recipe}-dense")
        found, whole = run.start()["mean"], dense.start()["mean"]
        events = (out / "events.jsonl").read_text()
        assert '"plan"' in events
        assert '"sparse": ["alfa", "bravo", "charlie"]' in events
        assert '"plan"' not in (tmp_path / f"{recipe}-dense" / "events.jsonl").read_text()
        for method in ("ease", "fedease"):
            assert found[method]["ndcg@10"] == pytest.approx(whole[method]["ndcg@10"], abs=0.03)
        assert found["ease"] != whole["ease"]


@pytest.mark.parametrize(
    ("recipe", "words", "why"),
    [
        ("fecosr", ["privacy.epsilon=8"], "another question"),
        ("fecosr", ["masks.enabled=true"], "one recipe"),
        ("ranker", [], "features"),
        ("fecosr", [], None),
    ],
)
def test_what_may_go_on_with_another_form(recipe: str, words: list[str], why: str | None):
    found = memory_plan.why_bound(load_recipe(recipe, words))
    assert found is None if why is None else why in str(found)


def test_a_run_that_ended_for_want_of_memory_goes_on_with_another_form(synthetic: Path, tmp_path: Path, monkeypatch):
    """The rounds are kept; the error says what was too large; another key than those of forms is refused."""

    def too_much(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 29.8 GiB for an array with shape (63245, 63245)")

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("fedrec.training.prior.ease_weights", too_much)
        with pytest.raises(RunError, match=r"out of memory; smaller .* ease\.dense_items .*: MemoryError: Unable to"):
            prepare_simulation(load_recipe("fecosr", quickly()), synthetic, out).start()
        for form in ("ease.dense_items=9000", "ease.dense_items=10000"):  # there and back: the markets follow
            with pytest.raises(RunError, match="out of memory"):
                resume_simulation(out, [form]).start()
    trained = [line for line in (out / "events.jsonl").read_text().splitlines() if '"event": "round"' in line]
    assert trained
    with pytest.raises(UserError, match="seed"):
        resume_simulation(out, ["seed=4"])
    summary = resume_simulation(out, ["ease.dense_items=20"]).start()
    lines = (out / "events.jsonl").read_text().splitlines()
    assert [line for line in lines if '"event": "round"' in line] == trained
    assert open_finished(out).recipe.ease.dense_items == 20
    sparse = prepare_simulation(load_recipe("fecosr", quickly("ease.dense_items=20")), synthetic, tmp_path / "sparse")
    assert comparable(summary)["markets"] == comparable(sparse.start())["markets"]
