"""What a market refuses whoever asks: another recipe than the run's, more epsilon than its operator gives, and more."""

import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from flwr.app import ConfigRecord, Context, RecordDict

from fedrec.clients.app import app as client_app
from fedrec.clients.behind import ROW_SETS
from fedrec.clients.figures import OUTSIDE_QUESTIONS
from fedrec.clients.node import open_node
from fedrec.data.columns import Columns
from fedrec.data.draws import UserDraws
from fedrec.data.families import write_own_families
from fedrec.data.store import open_store, open_stores
from fedrec.data.store_writer import write_store
from fedrec.errors import RunError, UserError
from fedrec.exchange.declaration import (
    CATALOGUE,
    COLLABORATIVE,
    FINETUNE,
    GRAM,
    HELLO,
    INSTALL,
    PRETRAIN,
    REFIT,
    REPORT,
    STATISTICS,
    VALIDATE,
    VOCABULARY,
)
from fedrec.exchange.payload import Array
from fedrec.files import read_json_lines
from fedrec.models.sequential import build_model
from fedrec.privacy.noise import kept_secret
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.runs.folder import RunFolder
from fedrec.server.coordinator import Coordinator
from fedrec.simulation.inline import FIRST_NODE, InlineGrid
from fedrec.simulation.nodes import NodeConfig
from fedrec.simulation.run import prepare_simulation
from fedrec.strategies.records import Answer, array_record, instruction, read_answer
from fedrec.training.prepared import PreparedMarket
from tests.conftest import QUICK

RESOLVED = [*QUICK, "evaluation.protocol=temporal", "codes.alignment=gram", "semantics.kind=cooccurrence"]
PRIVATE = ["privacy.epsilon=8", "privacy.accountant=rdp", "privacy.batch_size=20", "evaluation.methods=[federated]"]


def plain(*overrides: str) -> Recipe:
    return load_recipe("fecosr", [*RESOLVED, *overrides])


def private(*overrides: str) -> Recipe:
    return plain(*PRIVATE, *overrides)


class Market:
    """One market that answers whoever asks. ``allows``: what its operator wrote down."""

    def __init__(self, data: Path, state: Path, **allows: str) -> None:
        self.data, self.state = data, state
        node_config = NodeConfig(
            {"market": "alfa", "data-path": str(data / "alfa"), "state-path": str(state), **allows}, 1
        )
        self.grid = InlineGrid(client_app, [node_config])

    def ask(
        self, action: str, recipe: Recipe, arrays: dict[str, Array] | None = None, run: str = "run", number: int = 1
    ) -> Answer:
        config = ConfigRecord({"run": run, "recipe": recipe_json(recipe), "round": str(number)})
        message = instruction(FIRST_NODE, action, number, config, array_record(arrays) if arrays else None)
        (reply,) = self.grid.send_and_receive([message])
        return read_answer(reply, "alfa")

    def install(self, recipe: Recipe, seed: int, run: str = "run") -> None:
        """Item vectors as the coordinator might send them."""
        items = len(self.ask(CATALOGUE, recipe, run=run).payload.texts["items"])
        vectors = np.random.default_rng(seed).normal(size=(items, recipe.semantics.dimension)).astype(np.float32)
        assert self.ask(INSTALL, recipe, {"semantics": vectors}, run).error is None

    def train(self, recipe: Recipe, run: str = "run") -> Answer:
        """One round, always the first."""
        model = build_model(
            recipe.model, recipe.encoder, torch.zeros(0, recipe.semantics.dimension), recipe.loss.tau, recipe.seed
        )
        return self.ask(PRETRAIN, recipe, {name: value.numpy() for name, value in model.shared_state().items()}, run)

    def charges(self, run: str = "run") -> list[str]:
        account = json.loads((self.state / run / "markets" / "alfa" / "privacy.json").read_text())
        return [charge["what"] for charge in account["charges"].values()]


@pytest.fixture
def market(synthetic: Path, tmp_path: Path) -> Market:
    return Market(synthetic, tmp_path)


def test_a_run_that_began_before_a_section_came_goes_on(market: Market) -> None:
    """What it does not say has its default."""
    assert market.ask(HELLO, plain()).error is None
    assert market.ask(CATALOGUE, plain()).error is None
    path = market.state / "run" / "markets" / "alfa" / "began.json"
    began = json.loads(path.read_text())
    del began["recipe"]["scores"]
    path.write_text(json.dumps(began))
    assert market.ask(CATALOGUE, plain()).error is None
    answer = market.ask(CATALOGUE, plain("loss.lam=0"))
    assert answer.error is not None
    assert "loss differs" in answer.error


@pytest.mark.parametrize(
    "other",
    [
        private("privacy.epsilon=9"),
        private("data.user_share=0.5"),
        private("privacy.clip_norm=0.5"),
        private("seed=1"),
        plain("evaluation.methods=[federated]"),
        plain("evaluation.methods=[fedease]"),
    ],
    ids=["epsilon", "users", "clipping", "seed", "no privacy", "counts"],
)
def test_a_run_has_one_recipe_here(market: Market, other: Recipe) -> None:
    """What was promised with it cannot be taken back by the next question."""
    assert market.ask(HELLO, private()).error is None
    assert market.ask(CATALOGUE, private()).error is None
    for action in (CATALOGUE, GRAM, PRETRAIN, FINETUNE):
        answer = market.ask(action, other)
        assert answer.error is not None
        assert "not the one this run began with" in answer.error
        assert not answer.payload.arrays
    assert market.charges() == ["item pairs"]
    assert market.ask(CATALOGUE, private()).error is None  # the run itself goes on


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["evaluation.protocol=auto"], "says auto"),
        (["semantics.kind=auto"], "says auto"),
        (
            ["market_privacy.noise_multiplier=1", "market_privacy.delta=0.01", "federation.weights=uniform"],
            "in conflict",
        ),
    ],
)
def test_a_recipe_is_checked_by_the_market_too(market: Market, overrides: list[str], reason: str) -> None:
    """The coordinator should have; a market does not take that for granted."""
    values = plain().model_dump(mode="json")
    for override in overrides:
        key, _, text = override.partition("=")
        section, _, name = key.partition(".")
        values[section][name] = float(text) if text[0].isdigit() else text
    for action in (CATALOGUE, GRAM, PRETRAIN):
        answer = market.ask(action, Recipe.model_validate(values))
        assert answer.error is not None
        assert reason in answer.error


def test_keys_leave_only_where_the_recipe_shares_them(market: Market) -> None:
    texts = plain("semantics.kind=hashing", "codes.alignment=layered")
    assert "shares no item keys; none are sent" in str(market.ask(VOCABULARY, texts).error)


@pytest.mark.parametrize("more", ["evaluation.methods=[federated, fedease]", "evaluation.protocol=acmr"])
def test_keys_that_stay_stay(more: str) -> None:
    options = [*QUICK, "codes.share_keys=false", "codes.alignment=layered", "semantics.kind=hashing", more]
    with pytest.raises(UserError, match=r"codes\.share_keys false, but keys would leave"):
        load_recipe("codes", options)


def test_a_private_update_is_new_where_anything_that_made_it_is(market: Market) -> None:
    """The same question costs once and brings the same bytes; on other item vectors it is another release."""
    market.install(private(), seed=0)
    first, again = market.train(private()), market.train(private())
    assert first.error is None
    assert market.charges() == ["item pairs", "update"]
    for name, array in first.payload.arrays.items():
        np.testing.assert_array_equal(array, again.payload.arrays[name])
    market.install(private(), seed=1)
    other = market.train(private())
    assert market.charges() == ["item pairs", "update", "update"]
    assert market.ask(CATALOGUE, private(), run="elsewhere").error is None  # nothing of this run stays in memory
    again = market.train(private())
    assert market.charges() == ["item pairs", "update", "update"]
    for name, array in other.payload.arrays.items():
        np.testing.assert_array_equal(array, again.payload.arrays[name])
    encoder = [name for name in other.payload.arrays if name.startswith("encoder.")]  # what is trained here
    assert not any(np.array_equal(other.payload.arrays[name], first.payload.arrays[name]) for name in encoder)


def test_an_operator_bounds_what_all_runs_spend(synthetic: Path, tmp_path: Path) -> None:
    market = Market(synthetic, tmp_path, **{"max-epsilon": "10"})
    withheld = "privacy.reports=withheld"
    for recipe in (
        plain(),
        private("privacy.reports=outside"),
        private("privacy.epsilon=null", "privacy.noise_multiplier=1", withheld),
    ):
        assert "private recipes alone" in str(market.ask(HELLO, recipe).error)
    assert "is above 10" in str(market.ask(HELLO, private("privacy.epsilon=11", withheld)).error)
    six, four = (private(f"privacy.epsilon={epsilon}", withheld) for epsilon in (6, 4))
    assert market.ask(CATALOGUE, six, run="first").error is None
    refused = market.ask(CATALOGUE, six, run="second")
    assert "6: other runs had 6 of the 10 that this market ever spends; 4 is left" in str(refused.error)
    assert not refused.payload.arrays
    assert market.ask(CATALOGUE, four, run="third").error is None
    assert market.ask(CATALOGUE, six, run="first").error is None  # goes on
    assert "0 is left" in str(market.ask(CATALOGUE, private("privacy.epsilon=0.5", withheld), run="fourth").error)


@pytest.mark.parametrize("action", [CATALOGUE, PRETRAIN, REPORT])
def test_nothing_leaves_that_fewer_users_are_behind(action: str, synthetic: Path, tmp_path: Path) -> None:
    """Of sixty users a recipe leaves a dozen, or few; who they are is the market's secret."""
    recipe = plain("data.user_share=0.2")
    answer = Market(synthetic, tmp_path / "floor", **{"min-users": "20"}).ask(action, recipe)
    assert "fewer than 20 users to train, validate or test on" in str(answer.error)
    assert not answer.payload.arrays
    whole = Market(synthetic, tmp_path / "whole", **{"min-users": "20"}).ask(CATALOGUE, plain())
    assert whole.error is None


def test_a_list_of_items_made_of_rows_is_no_public_one(synthetic: Path, tmp_path: Path) -> None:
    """An item that one user alone has would stand in it; the operator declares the list, or the recipe says so."""
    data = without_texts(synthetic, tmp_path / "data")
    pairs = "semantics.kind=cooccurrence"
    recipe = private(pairs)
    for action in (HELLO, CATALOGUE):
        answer = Market(data, tmp_path / action).ask(action, recipe)
        assert "import again with --items" in str(answer.error)
        assert not answer.payload.texts
    said = Market(data, tmp_path / "said").ask(
        CATALOGUE, private("privacy.catalogue=occurring", "semantics.kind=cooccurrence")
    )
    assert said.error is None
    assert Market(data, tmp_path / "open").ask(CATALOGUE, plain(pairs)).error is None
    bounded = Market(data, tmp_path / "bounded", **{"max-epsilon": "10"})
    withheld = private("privacy.catalogue=occurring", "privacy.reports=withheld", pairs)
    assert "import again with --items" in str(bounded.ask(CATALOGUE, withheld).error)


@pytest.mark.parametrize(
    ("changes", "words", "floor"),
    [
        (["data.user_share={}"], ["0.600", "0.605", "0.610", "0.615", "0.620", "0.640", "0.7"], 20),
        (
            ["evaluation.protocol=global-time", "evaluation.cut_date=2020-{}"],
            ["06-09", "06-10", "06-11", "06-12", "06-24"],
            4,
        ),
    ],
    ids=["nested shares", "cut dates"],
)
def test_no_two_recipes_differ_by_a_few_users(
    changes: list[str], words: list[str], floor: int, synthetic: Path, tmp_path: Path
) -> None:
    """Under whatever names their runs go: the difference of what leaves is these users' rows."""
    market = Market(synthetic, tmp_path, **{"min-users": str(floor)})
    counted = ["evaluation.methods=[fedease]", "fedease.min_count=1"]
    told = {}
    for word in words:
        recipe = plain(*counted, *(change.format(word) for change in changes))
        answer = market.ask(GRAM, recipe, run=f"run-{word}")
        if answer.error is None:
            secret = market.state / f"run-{word}" / "markets" / "alfa" / "secret"
            draws = UserDraws(kept_secret(secret))
            told[word] = PreparedMarket(open_store(market.data / "alfa"), recipe, None, draws)
        else:
            assert f"fewer than {floor} users" in answer.error
            assert not answer.payload.arrays
    assert words[0] in told
    assert "share" in changes[0] or len(told) < len(words)  # shares are of each run's secret, nested in no two runs

    def histories(market: PreparedMarket) -> set[tuple[str, tuple[int, ...]]]:
        return {
            (user, tuple(market.train.items[market.train.offsets[n] : market.train.offsets[n + 1]].tolist()))
            for n, user in enumerate(market.learners)
        }

    for one, two in combinations(told.values(), 2):
        changed = {user for user, _ in histories(one) ^ histories(two)}
        assert not changed or len(changed) >= floor
    again = plain(*counted, *(change.format(words[0]) for change in changes))
    assert market.ask(GRAM, again, run=f"run-{words[0]}").error is None  # the same rows as often as one likes


def test_lengths_of_histories_are_rows_too(synthetic: Path, tmp_path: Path) -> None:
    """What a model does not read of long histories: two lengths may not differ by the few users who have more."""
    market = Market(synthetic, tmp_path, **{"min-users": "20"})
    train = PreparedMarket(open_store(synthetic / "alfa"), plain()).train
    answered: list[int] = []
    refused = 0
    for length in (4, 30, 29, 28, 8, 9, 10, 5):
        read = length + 1  # a target after as many
        differ = [int((train.lengths > min(read, other + 1)).sum()) for other in answered if other != length]
        error = market.ask(CATALOGUE, plain(f"model.maximum_length={length}"), run=f"run-{length}").error
        if any(0 < count < 20 for count in differ):
            assert "read in training differ" in str(error)
            refused += 1
        else:
            assert error is None
            answered.append(length)
    assert refused
    assert len(answered) > 1


def test_few_other_rows_are_looked_at(synthetic: Path, tmp_path: Path) -> None:
    """Every refusal tells that few users' rows lie between two recipes."""
    market = Market(synthetic, tmp_path, **{"min-users": "4"})
    recipes = [
        plain(
            "evaluation.protocol=global-time", f"evaluation.cut_date=2020-06-{day:02}", "evaluation.methods=[fedease]"
        )
        for day in range(4, 30)
    ]
    said = [str(market.ask(GRAM, recipe, run=f"run-{number}").error) for number, recipe in enumerate(recipes)]
    assert any("differ from those of an earlier recipe" in text for text in said)
    assert f"recipes with {ROW_SETS} different sets of rows" in said[-1]
    assert market.ask(GRAM, recipes[0], run="run-0").error is None


def test_noise_that_promises_nothing_hides_nobody(synthetic: Path, tmp_path: Path) -> None:
    """privacy.noise_multiplier without an epsilon: rows are compared as without noise."""
    market = Market(synthetic, tmp_path, **{"min-users": "4"})
    dates = ["evaluation.protocol=global-time", "evaluation.methods=[fedease]", "privacy.noise_multiplier=0.001"]
    said = [
        market.ask(GRAM, plain(*dates, f"evaluation.cut_date=2020-06-{day}"), run=f"run-{day}").error
        for day in ("09", "10")
    ]
    assert said[0] is None
    assert "differ from those of an earlier recipe" in str(said[1])


@pytest.mark.parametrize(
    ("overrides", "action"),
    [
        (["evaluation.methods=[fedease]"], PRETRAIN),
        ([], COLLABORATIVE),
        (["evaluation.methods=[federated]"], REFIT),
    ],
)
def test_questions_that_are_no_step_of_the_recipe_are_refused(
    overrides: list[str], action: str, market: Market
) -> None:
    answer = market.ask(action, plain(*overrides))
    assert "is no step of algorithm.kind 'fecosr' in this recipe" in str(answer.error)


@pytest.mark.parametrize("kind", ["vocabulary", "statistics", "own"])
def test_what_a_recipe_does_not_exchange_is_not_taken(kind: str, market: Market) -> None:
    """A market that said whether something fits its rows would answer questions about them."""
    one, none = np.zeros(1, np.int32), np.zeros(0, np.int32)
    arrays: dict[str, Array] = {
        "vocabulary": {},
        "statistics": {"monthly.count": one},
        "own": {"own": none},
    }[kind]
    recipe = private() if kind == "statistics" else plain()
    config = ConfigRecord({"run": "run", "recipe": recipe_json(recipe), "round": "0"})
    texts = {"vocabulary": ["a"], "learned": ["a"]} if kind == "vocabulary" else {"everyone": ["statistics"]}
    message = instruction(FIRST_NODE, INSTALL, 0, config, array_record(arrays) if arrays else None, texts)
    (reply,) = market.grid.send_and_receive([message])
    said = str(read_answer(reply, "alfa").error)
    assert "shares no list of items" in said or "has no use for" in said


@pytest.mark.parametrize("value", ["-1", "many", "1.5", "٣"])
def test_a_floor_that_is_none(synthetic: Path, tmp_path: Path, value: str) -> None:
    answer = Market(synthetic, tmp_path, **{"min-users": value}).ask(HELLO, plain())
    assert "UserError" in str(answer.error)


def test_deltas_add_up_too(synthetic: Path, tmp_path: Path) -> None:
    """Sixty users: three runs of a delta of .0006 are more than a tenth of one in sixty."""
    market = Market(synthetic, tmp_path, **{"max-epsilon": "100"})
    recipe = private("privacy.delta=0.0006", "privacy.reports=withheld")
    answers = [market.ask(CATALOGUE, recipe, run=run) for run in ("first", "second", "third")]
    assert [answer.error is None for answer in answers] == [True, True, False]
    assert "with those of other runs here 0.0018, more than a tenth of one in 60 users" in str(answers[2].error)


@pytest.mark.parametrize("value", ["-1", "0", "many", "inf", "nan"])
def test_a_bound_that_is_none(synthetic: Path, tmp_path: Path, value: str) -> None:
    answer = Market(synthetic, tmp_path, **{"max-epsilon": value}).ask(HELLO, private())
    assert "UserError" in str(answer.error)


def without_texts(data: Path, out: Path) -> Path:
    for path in sorted(data.iterdir()):
        store = open_store(path)
        kept = store.interactions.select(Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.VALUE)
        assert isinstance(kept, pl.DataFrame)
        write_store(out / store.name, store.name, kept, source="test", time_resolution=store.time_resolution)
    return out


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        (
            "fecosr",
            [
                "market_privacy.noise_multiplier=1",
                "market_privacy.delta=0.01",
                "federation.weights=uniform",
                "federation.participation=0.5",
                "evaluation.methods=[federated]",
            ],
        ),
        ("fedmm", ["codes.share_keys=false"]),
    ],
)
def test_what_is_at_odds_on_these_markets_ends_before_anything_leaves(
    synthetic: Path, tmp_path: Path, name: str, overrides: list[str]
) -> None:
    """As a deployment meets it: only the markets' hellos tell that without texts `auto` means counts."""
    data = without_texts(synthetic, tmp_path / "data")
    quick = QUICK if name == "fecosr" else []
    recipe = load_recipe(name, [*quick, *overrides])
    with pytest.raises(UserError, match="on these markets"):
        prepare_simulation(recipe, data, tmp_path / "simulated")
    run = RunFolder.create(tmp_path / "run", recipe)
    names = [path.name for path in sorted(data.iterdir())]
    places: list[dict[str, Any]] = [
        {"market": market, "data-path": str(data / market), "state-path": str(tmp_path)} for market in names
    ]
    grid = InlineGrid(client_app, [NodeConfig(place, 1) for place in places])
    with pytest.raises(RunError, match="on these markets"):
        Coordinator(grid, run, recipe).lead(names, "deploy", "test")
    run.gather_ledgers()
    assert {entry["action"] for entry in read_json_lines(run.path / "ledger.jsonl")} == {HELLO}


def test_what_was_summed_over_some_is_not_summed_over_others_in_another_run(synthetic: Path, tmp_path: Path) -> None:
    """On an operator's host the memory is common to all runs: a second one, over fewer markets, opens nothing."""
    counted = load_recipe("fecosr", [*QUICK, "evaluation.methods=[fedease]", "masks.enabled=true"])
    prepare_simulation(counted, synthetic, tmp_path / "all").start()
    fewer = tmp_path / "fewer"
    for market in ("alfa", "bravo"):
        shutil.copytree(synthetic / market, fewer / market)
    remembering = prepare_simulation(counted, fewer, tmp_path / "some")
    for market in ("alfa", "bravo"):
        (remembering.run.markets / market).mkdir(parents=True)
        shutil.copy2(tmp_path / "all" / "markets" / market / "summed.jsonl", remembering.run.markets / market)
    with pytest.raises(RunError, match="alfa: query.unmask: .*summed before over other markets or weights"):
        remembering.start()


def test_the_same_update_is_not_summed_by_other_weights(synthetic: Path, tmp_path: Path) -> None:
    """Three sums of three markets' updates, each with weights of its own, could be solved for every one of them."""
    options = [*QUICK, "evaluation.methods=[federated]", "masks.enabled=true", "federation.rounds=1"]
    prepare_simulation(load_recipe("fecosr", options), synthetic, tmp_path / "first").start()
    other = prepare_simulation(
        load_recipe("fecosr", [*options, "federation.weights=uniform"]), synthetic, tmp_path / "second"
    )
    for path in (tmp_path / "first" / "markets").iterdir():
        (other.run.markets / path.name).mkdir(parents=True)
        shutil.copy2(path / "summed.jsonl", other.run.markets / path.name)
    with pytest.raises(RunError, match="no round was accepted"):
        other.start()
    (record,) = [line for line in read_json_lines(other.run.events) if line["event"] == "round"]
    assert record["accepted"] == []
    assert "summed before over other markets or weights" in other.run.events.read_text()


@pytest.mark.parametrize("reports", ["withheld", "outside"])
def test_forged_questions_of_validation_tell_nothing(reports: str, market: Market) -> None:
    """Forty models that each like one item would tell how many users bought it next."""
    recipe = private(f"privacy.reports={reports}")
    market.install(recipe, 0)
    market.train(recipe)
    for number in range(3):
        answer = market.ask(VALIDATE, recipe, forged(recipe, number), number=number)
        assert "not validated" in str(answer.error)
        assert not answer.payload.scalars


def test_figures_outside_epsilon_answer_one_question_after_training(market: Market) -> None:
    """On a model that the market helped to make; the same again, and no other."""
    recipe = private("privacy.reports=outside")
    market.install(recipe, 0)
    before = market.ask(FINETUNE, recipe, forged(recipe, 1))
    assert before.error is None
    assert not before.payload.scalars  # it has trained nothing yet
    assert not market.ask(REPORT, recipe).payload.scalars
    market.train(recipe)
    told = market.ask(FINETUNE, recipe, forged(recipe, 2)).payload.scalars
    assert 0 <= told["validation"] <= 1
    assert round(told["validation"], 3) == told["validation"]
    for number in range(3, 6):
        assert not market.ask(FINETUNE, recipe, forged(recipe, number)).payload.scalars
    assert market.ask(FINETUNE, recipe, forged(recipe, 2)).payload.scalars["validation"] == told["validation"]
    assert market.ask(REPORT, recipe).payload.scalars
    for number in range(6, 9):  # a model of the coordinator's choice, and its figures by the other question
        assert market.ask(FINETUNE, recipe, forged(recipe, number)).error is None
        assert not market.ask(REPORT, recipe).payload.scalars


def test_other_statistics_are_another_question(market: Market) -> None:
    """A ranker's figures depend on what the server says of the others, which it may say again otherwise."""
    own = ["evaluation.protocol=temporal", "semantics.kind=hashing", "codes.alignment=layered", "scores.kind=none"]
    small = ["federation.rounds=2", "algorithm.hidden=4", "evaluation.methods=[federated]", "privacy.accountant=rdp"]
    recipe = load_recipe("ranker", [*own, *small, "privacy.epsilon=8", "privacy.reports=outside"])
    pairs = market.ask(STATISTICS, recipe).payload.arrays["pairs"]
    size = int((8 * len(pairs) + 1) ** 0.5) // 2

    def finetuned(number: int) -> bool:
        others = np.random.default_rng(number).uniform(0, 50, len(pairs)).astype(np.float32)
        zeros = np.zeros(size, np.float32)
        sent = {"pairs": pairs + others, "ridge": zeros[:1], "variance": zeros}
        assert market.ask(INSTALL, recipe, sent).error is None
        answer = market.ask(FINETUNE, recipe)
        assert answer.error is None
        return bool(answer.payload.scalars)

    assert [finetuned(number) for number in (1, 2, 3, 1)] == [True, False, False, True]


def test_figures_outside_epsilon_are_few_over_all_runs(market: Market) -> None:
    """Names of runs are the coordinator's, and every name could ask about one model more."""
    recipe, told = private("privacy.reports=outside"), []
    for number in range(OUTSIDE_QUESTIONS + 3):
        run = f"run-{number}"
        market.install(recipe, 0, run)
        market.train(recipe, run)
        told.append(bool(market.ask(FINETUNE, recipe, forged(recipe, number), run).payload.scalars))
    assert told == [True] * OUTSIDE_QUESTIONS + [False] * 3
    assert market.ask(FINETUNE, recipe, forged(recipe, 0), "run-0").payload.scalars  # what was told may be told again
    assert market.ask(REPORT, recipe, run="run-0").payload.scalars  # another action has questions of its own


def test_noised_figures_of_another_model_have_no_budget(market: Market) -> None:
    recipe = private("privacy.reports=noised")
    market.install(recipe, 0)
    for number in range(recipe.federation.rounds):
        market.ask(PRETRAIN, recipe, forged(recipe, number), number=number + 1)
    first = market.ask(FINETUNE, recipe, forged(recipe, 8))
    assert first.error is None
    second = market.ask(FINETUNE, recipe, forged(recipe, 9))
    assert "privacy budget spent: figures" in str(second.error)
    again = market.ask(FINETUNE, recipe, forged(recipe, 8))
    np.testing.assert_array_equal(again.payload.arrays["figures"], first.payload.arrays["figures"])
    assert market.charges().count("figures") == 1


def forged(recipe: Recipe, seed: int) -> dict[str, Array]:
    """Parameters of the coordinator's choice."""
    model = build_model(recipe.model, recipe.encoder, torch.zeros(0, recipe.semantics.dimension), recipe.loss.tau, seed)
    return {name: value.numpy() for name, value in model.shared_state().items()}


def test_families_that_were_made_of_the_users_are_no_public_map(synthetic: Path, tmp_path: Path) -> None:
    """One user more may make a family of two items, and so change what everybody bought."""
    shutil.copytree(synthetic, tmp_path / "data")
    write_own_families(open_stores(tmp_path / "data"))
    for number, (recipe, refused) in enumerate(
        [
            (private("evaluation.protocol=family"), True),
            (private("evaluation.protocol=temporal"), False),
            (plain("evaluation.protocol=family"), False),
        ]
    ):
        answer = Market(tmp_path / "data", tmp_path / str(number)).ask(CATALOGUE, recipe)
        assert ("made of these users' interactions" in str(answer.error)) == refused, answer.error


@pytest.mark.parametrize(
    ("config", "markets", "epsilon"),
    [
        ({}, 2, None),
        ({"most-epsilon": "2", "least-markets": "5"}, 5, 2.0),
        ({"most-epsilon": "2", "max-epsilon": "50", "least-markets": "5", "min-markets": "2"}, 5, 2.0),
        ({"most-epsilon": "50", "max-epsilon": "2", "least-markets": "2", "min-markets": "5"}, 5, 2.0),
        ({"most-epsilon": "", "max-epsilon": "2", "least-markets": "", "min-markets": "3"}, 3, 2.0),
    ],
)
def test_a_bound_under_its_name_of_the_version_before_holds_too(
    config: dict[str, str], markets: int, epsilon: float | None, synthetic: Path, tmp_path: Path
) -> None:
    """The stricter of both counts: an operator who set one has set it."""
    given = {"market": "alfa", "data-path": str(synthetic), "state-path": str(tmp_path), **config}
    node = open_node(Context(1, 2, given, RecordDict(), {}), "run")
    assert (node.min_markets, node.max_epsilon) == (markets, epsilon)
