"""One user more or less, on the real path: what a market's app releases changes by no more than is accounted for.

The secret stays, so that what is drawn for the others stays too; everybody takes part in every step. Measured is the
sum before noise: of a step's clipped gradients, and of item pairs.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from fedrec.clients.app import app
from fedrec.data.store import open_store
from fedrec.data.store_writer import write_store
from fedrec.exchange import noised_pairs
from fedrec.exchange.figures import noised_figures
from fedrec.models.adaptor import ItemCodes
from fedrec.models.sequential import build_model
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.server.codebooks import first_arrays
from fedrec.simulation.nodes import set_identity
from fedrec.training.private import PrivateSteps
from tests.conftest import QUICK

DAY, BEGIN = 86400, 1_577_836_800  # 2020-01-01
Measured = dict[str, np.ndarray]


def private(*overrides: str) -> Recipe:
    own = [
        "privacy.epsilon=4",
        "privacy.batch_size=60000",
        "evaluation.methods=[federated, fedease]",
        "evaluation.protocol=temporal",
        "semantics.kind=hashing",
        "codes.alignment=layered",
        "federation.rounds=1",
    ]
    return load_recipe("fecosr", [*QUICK, *own, *overrides])


def user(name: str, items: list[str], step: int = DAY, start: int = BEGIN) -> pl.DataFrame:
    times = [start + step * number for number in range(len(items))]
    return pl.DataFrame(
        {"user_id": [name] * len(items), "item_id": items, "timestamp": times, "value": [1.0] * len(items)}
    )


def extremes(items: list[str]) -> dict[str, pl.DataFrame]:
    """Users who are first, last, short, long, repetitive, all at once, and many at random."""
    generator = np.random.default_rng(5)
    found = {
        "one item": user("000", items[:1]),
        "two items": user("000", items[:2]),
        "three items": user("000", items[:3]),
        "every item": user("000", items),
        "sorts last": user("zzz", items[:9]),
        "one item often": user("000", items[:1] * 500, 60),
        "every item often": user("000", items * 9, 60),
        "at one moment": user("000", items[:20], 0),
        "long ago": user("000", items[:9], DAY, 700_000_000),
        "a name in the middle": user("alfa-00020x", items[:12]),
    }
    found["undeclared items"] = user("000", [f"new-{number}" for number in range(9)])
    found["some undeclared items"] = user("000", ["new-1", items[3], "new-2", items[4], items[5], "aaa", items[6]])
    for number in range(40):
        chosen = generator.choice(items, generator.integers(1, 60)).tolist()
        found[f"random {number}"] = user(
            f"{generator.integers(10**6):06d}", chosen, int(generator.choice([0, 60, DAY]))
        )
    return found


@pytest.fixture(scope="module")
def base(synthetic: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Forty users' rows, of coarse dates, so that some tie; and the declared items."""
    set_identity()
    store = open_store(synthetic / "alfa")
    frame = store.interactions
    frame = frame.filter(pl.col("user_id").is_in(frame["user_id"].unique().sort().head(40).implode()))
    return frame.with_columns(pl.col("timestamp") // (10 * DAY) * (10 * DAY)), store.catalogue


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """The sums of the last question before noise."""
    found: Measured = {}
    noised, pairs = PrivateSteps.noised, noised_pairs.noised_statistic

    def step(self: PrivateSteps, total: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
        found[f"step {number}"] = np.concatenate([value.double().numpy().ravel() for _, value in sorted(total.items())])
        return noised(self, total, number)

    def statistic(values: np.ndarray, *rest: object) -> np.ndarray:
        found["pairs"] = values
        return pairs(values, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PrivateSteps, "noised", step)
    monkeypatch.setattr("fedrec.clients.privacy.noised_statistic", statistic)
    return found


class Market:
    """A market's app as a coordinator sees it; every market here has one secret."""

    def __init__(self, folder: Path, frame: pl.DataFrame, items: pl.DataFrame) -> None:
        listed = items["item_id"].to_list()
        families = {item: listed[place // 2 * 2] for place, item in enumerate(listed[:30])}  # given, not made of users
        own = {"source": "test", "time_resolution": "day", "items": items, "families": families}
        write_store(folder / "data" / "alfa", "alfa", frame, **own, items_declared=True)
        self.folder = folder
        secret = folder / "state" / "run" / "markets" / "alfa" / "secret"
        secret.parent.mkdir(parents=True)
        secret.write_bytes(bytes(range(32)))

    def ask(self, action: str, recipe: Recipe, arrays: dict[str, np.ndarray] | None = None) -> None:
        config = {"market": "alfa", "data-path": str(self.folder / "data"), "state-path": str(self.folder / "state")}
        content = RecordDict({"config": ConfigRecord({"run": "run", "recipe": recipe_json(recipe), "round": "1"})})
        if arrays is not None:
            content["arrays"] = ArrayRecord({name: Array(value) for name, value in arrays.items()})
        message = Message(content, dst_node_id=1, message_type=action, group_id="1")
        message.metadata.__dict__["_message_id"] = f"test {self.folder.name} {action}"
        reply = app(message, Context(1, 1, config, RecordDict(), {}))
        assert not reply.has_error(), reply.error.reason


def shared(recipe: Recipe) -> dict[str, np.ndarray]:
    model = build_model(
        recipe.model, recipe.encoder, torch.zeros(0, recipe.semantics.dimension), recipe.loss.tau, recipe.seed
    )
    return {name: value.numpy().copy() for name, value in model.shared_state().items()}


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param([], marks=pytest.mark.slow),
        ["model.dropout=0.5", "privacy.trains=everything"],
        ["evaluation.ties=random"],
        pytest.param(["data.user_share=0.6"], marks=pytest.mark.slow),
        pytest.param(["evaluation.holdout=basket"], marks=pytest.mark.slow),
        pytest.param(["evaluation.protocol=global-time", "evaluation.cut_date=2020-03-01"], marks=pytest.mark.slow),
        pytest.param(["evaluation.protocol=family"], marks=pytest.mark.slow),
    ],
    ids=["default", "dropout", "ties", "share", "baskets", "cut", "families"],
)
def test_no_release_moves_by_more_than_one_users_share(
    overrides: list[str], base: tuple[pl.DataFrame, pl.DataFrame], measured: Measured, tmp_path: Path
) -> None:
    frame, items = base
    recipe = private(*overrides)
    start = shared(recipe)

    def sums(name: str, rows: pl.DataFrame) -> Measured:
        market = Market(tmp_path / name, rows, items)
        measured.clear()
        market.ask("query.gram", recipe)
        market.ask("train.pretrain", recipe, start)
        return dict(measured)

    before = sums("before", frame)
    assert set(before) == {"pairs", "step 0"}
    moved = {}
    for number, (label, more) in enumerate(extremes(items["item_id"].to_list()).items()):
        after = sums(str(number), pl.concat([frame, more.cast(dict(frame.schema))]))
        moved[label] = {name: float(np.linalg.norm(after[name] - before[name])) for name in before}
    largest = {name: max(one[name] for one in moved.values()) for name in before}
    assert largest["pairs"] <= 1 + 1e-6, moved
    assert largest["step 0"] <= recipe.privacy.clip_norm * (1 + 1e-3), moved
    assert largest["step 0"] > 0.5 * recipe.privacy.clip_norm  # somebody is clipped: the test has something to see


def test_nor_where_items_are_known_by_codes(
    base: tuple[pl.DataFrame, pl.DataFrame], measured: Measured, tmp_path: Path
) -> None:
    """A market's own levels are made of its users; nothing of them may decide what is drawn for anybody."""
    frame, items = base
    own = ["semantics.kind=hashing", "codes.alignment=layered", "evaluation.protocol=temporal"]
    quick = ["collaborative.epochs=2", "codes.rounds=2", "codes.epochs=1", "privacy.batch_size=60000"]
    recipe = load_recipe("codes", [*QUICK, *own, *quick, "privacy.epsilon=4", "evaluation.methods=[federated]"])
    nothing = torch.zeros(0, 0, dtype=torch.int64)
    codes = ItemCodes(nothing, tuple(recipe.codes.global_levels), nothing, tuple(recipe.codes.local_levels))
    empty = torch.zeros(0, recipe.semantics.dimension)
    model = build_model(recipe.model, recipe.encoder, empty, recipe.loss.tau, recipe.seed, codes)
    start = {name: value.numpy().copy() for name, value in model.shared_state().items()}
    codebooks = first_arrays(recipe, None)

    def sums(name: str, rows: pl.DataFrame) -> np.ndarray:
        market = Market(tmp_path / name, rows, items)
        market.ask("train.collaborative", recipe)
        market.ask("train.codes", recipe, codebooks)
        market.ask("train.pretrain", recipe, start)
        return measured["step 0"]

    before, moved = sums("before", frame), {}
    for number, (label, more) in enumerate(list(extremes(items["item_id"].to_list()).items())[:16]):
        after = sums(str(number), pl.concat([frame, more.cast(dict(frame.schema))]))
        moved[label] = float(np.linalg.norm(after - before))
    assert 0.5 < max(moved.values()) <= recipe.privacy.clip_norm * (1 + 1e-3), moved


@pytest.mark.parametrize(
    ("name", "action", "own"),
    [
        (
            "ranker",
            "query.statistics",
            ["evaluation.protocol=temporal", "scores.kind=none", "semantics.kind=hashing", "codes.alignment=layered"],
        ),
        (
            "fedmm",
            "query.catalogue",
            ["semantics.kind=cooccurrence", "codes.alignment=gram", "evaluation.protocol=ctr"],
        ),
    ],
)
def test_nor_does_the_one_release_of_recipes_whose_models_stay(
    name: str,
    action: str,
    own: list[str],
    base: tuple[pl.DataFrame, pl.DataFrame],
    measured: Measured,
    tmp_path: Path,
) -> None:
    """Everyone's rows are in every feature of a ranker and in every code, and nothing of either leaves."""
    frame, items = base
    recipe = load_recipe(name, [*own, "evaluation.methods=[federated]", "privacy.epsilon=4"])

    def sums(name: str, rows: pl.DataFrame) -> np.ndarray:
        measured.clear()
        Market(tmp_path / name, rows, items).ask(action, recipe)
        assert set(measured) == {"pairs"}
        return measured["pairs"]

    before, moved = sums("before", frame), {}
    for number, (label, more) in enumerate(extremes(items["item_id"].to_list()).items()):
        after = sums(str(number), pl.concat([frame, more.cast(dict(frame.schema))]))
        moved[label] = float(np.linalg.norm(after - before))
    assert 0.5 < max(moved.values()) <= 1 + 1e-6, moved


def test_nor_do_noised_figures(
    base: tuple[pl.DataFrame, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sums over the test users, of a model that came: one user more adds one to each at most, and moves nobody else."""
    frame, items = base
    recipe = private("privacy.reports=noised", "finetune.epochs=1", "evaluation.methods=[federated]")
    start, seen = shared(recipe), []

    def noised(sums: np.ndarray, *rest: object) -> np.ndarray:
        seen.append(sums)
        return noised_figures(sums, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("fedrec.clients.figures.noised_figures", noised)

    def sums(name: str, rows: pl.DataFrame) -> np.ndarray:
        Market(tmp_path / name, rows, items).ask("train.finetune", recipe, start)
        return seen[-1]

    before = sums("before", frame)
    assert before[-1] > 20
    for number, more in enumerate(list(extremes(items["item_id"].to_list()).values())[:14]):
        moved = sums(str(number), pl.concat([frame, more.cast(dict(frame.schema))])) - before
        assert (moved >= -1e-9).all()
        assert (moved <= 1 + 1e-9).all()
        assert np.linalg.norm(moved) <= 3**0.5 + 1e-9
