"""``fedrec audit --black-box``: a market's own answers with and without one user, under many fresh secrets.

The market's app is asked, as a coordinator asks it; nothing is known of it but what it answers. Only where to look is
found out from inside: in which direction the sum before noise moves with the user, from secrets that are not used
again. One round has the whole epsilon of the recipe, so that there is as much to see as may be.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, RecordDict
from numpy.typing import NDArray

from fedrec.attacks.black_box import best_threshold, proof
from fedrec.clients.app import app as market_app
from fedrec.clients.instruction import Instruction
from fedrec.clients.memory import arrays_of, tensors
from fedrec.clients.methods import make_sequential_trainer
from fedrec.clients.node import MarketNode, open_node
from fedrec.clients.privacy import market_plan, private_steps
from fedrec.clients.question import asked, made_of
from fedrec.data.columns import Columns
from fedrec.data.erase import erase_user
from fedrec.data.store import MarketStore
from fedrec.errors import RunError, UserError
from fedrec.exchange.declaration import CATALOGUE, GRAM, PRETRAIN, STATISTICS
from fedrec.exchange.noised_pairs import PAIRS, pair_statistic
from fedrec.exchange.payload import Array
from fedrec.files import write_json
from fedrec.privacy.accounting import epsilon
from fedrec.privacy.noise import SECRET_BYTES
from fedrec.privacy.plan import PAIRS as PAIRS_RELEASE
from fedrec.privacy.plan import UPDATE
from fedrec.privacy.release import Release
from fedrec.progress import Progress, no_progress
from fedrec.recipe import Recipe, recipe_json
from fedrec.seeds import numpy_generator
from fedrec.simulation.nodes import allowances, set_identity
from fedrec.simulation.run import open_finished
from fedrec.strategies.records import array_record, instruction, read_answer
from fedrec.threads import single_threaded
from fedrec.training.private import PrivateSteps, State

_NODE, _RUN = 1, "run"
_SHORTEST = 4  # interactions of a user, of whom something is learned after two are held out
_FEWEST = 10  # answers of each kind
_SHADOWS = 8  # secrets that show the direction
_LEARNING = 0.5  # answers that choose the threshold, for each that is counted
Floats = NDArray[np.float64]


def audit_answers(path: Path, runs: int, name: str | None = None, progress: Progress = no_progress) -> dict[str, Any]:
    """What ``runs`` answers of each kind prove, for every kind of release of a finished private run.

    Writes and returns ``black-box.json`` of its folder. ``name``: the market; the smallest by default. Raises
    :class:`UserError` where nothing that leaves is noised.
    """
    if runs < _FEWEST:
        raise UserError(f"--black-box {runs}: how many answers with the user, and as many without; {_FEWEST} or more")
    finished = open_finished(path)
    recipe = alone(finished.recipe)
    if not recipe.privacy.on:
        raise UserError(f"{finished.run.path}: not a private run; --black-box tests what noise is said to hide")
    stores = {store.name: store for store in finished.stores}
    name = name or min(stores, key=lambda found: (stores[found].users, found))
    if name not in stores:
        raise UserError(f"--market {name!r}: not in this run; it has {', '.join(sorted(stores))}")
    set_identity()
    with tempfile.TemporaryDirectory(prefix="fedrec-black-box-") as scratch, single_threaded():
        received = finished.run.markets / name
        whole = Market(stores[name].path, Path(scratch) / "with", recipe, received)
        kinds = kinds_of(whole)
        if not kinds:
            raise UserError(f"{finished.run.path}: nothing that market {name!r} sends is noised")
        progress(f"choosing a user of {name}")
        user = _most_visible(stores[name], whole, Path(scratch), kinds[0])
        rest = whole.without(stores[name], user, Path(scratch) / "without")
        releases = [_audited(kind, whole, rest, runs, progress) for kind in kinds]
    result = {"market": name, "runs": runs, "delta": recipe.privacy.delta, "releases": releases}
    write_json(path / "black-box.json", result)
    return result


def alone(recipe: Recipe) -> Recipe:
    """One round, which has all of epsilon; without masks, which hide nothing from those who have the sum."""
    return recipe.model_copy(
        update={
            "federation": recipe.federation.model_copy(update={"rounds": 1}),
            "masks": recipe.masks.model_copy(update={"enabled": False}),
        }
    )


@dataclass(frozen=True)
class Market:
    """One market's app on some data. ``received``: the folder of what it was sent in the run."""

    data: Path
    state: Path
    recipe: Recipe
    received: Path

    @property
    def _config(self) -> dict[str, str]:
        return {
            "market": self.received.name,
            "data-path": str(self.data),
            "state-path": str(self.state),
            **allowances(self.recipe),
        }

    @cached_property
    def node(self) -> MarketNode:
        """As its app opens it; with what it was sent in the run."""
        node = open_node(Context(1, _NODE, dict(self._config), RecordDict(), {}), _RUN)
        node.folder.mkdir(parents=True)
        for path in (node.semantics, node.gram, node.vocabulary, node.codes("federated")):
            if (self.received / path.name).is_file():
                shutil.copy2(self.received / path.name, path)
        return node

    @cached_property
    def start(self) -> dict[str, Array]:
        """The untrained shared parameters, which a run begins with."""
        trainer = make_sequential_trainer(self.node, self.recipe, "federated")
        return arrays_of(trainer.model.shared_state())

    def without(self, store: MarketStore, user: str, folder: Path) -> "Market":
        """The same market, had this user never been there."""
        data = folder / "data" / store.name
        erase_user(store, user, data)
        return replace(self, data=data, state=folder / "state")

    def renew(self, secret: bytes) -> None:
        """Another run of the same recipe: another secret, an empty account."""
        for path in (self.node.budget, self.node.began_with, self.node.ledger):
            path.unlink(missing_ok=True)
        self.node.secret.write_bytes(secret)

    def ask(self, action: str, arrays: dict[str, Array] | None = None) -> dict[str, Array]:
        """The arrays that it answers with."""
        config = ConfigRecord({"run": _RUN, "recipe": recipe_json(self.recipe), "round": "1"})
        question = instruction(_NODE, action, 1, config, array_record(arrays) if arrays else None)
        question.metadata.__dict__["_message_id"] = "audit"
        reply = market_app(question, Context(1, _NODE, dict(self._config), RecordDict(), {}))
        answer = read_answer(reply, self.received.name)
        if answer.error is not None:
            raise RunError(f"market {self.received.name!r} refused: {answer.error}")
        return dict(answer.payload.arrays)


@dataclass(frozen=True)
class Kind:
    """One kind of noised answer."""

    what: str
    release: Release
    largest: float  # L2 norm of what one user may add
    before_noise: Callable[[Market], Floats]  # the sum over users that noise is added to, under the market's secret
    seen: Callable[[Market], Floats]  # what leaves, as numbers in the same order

    def moved(self, whole: Market, rest: Market, secret: bytes) -> Floats:
        """How the sum before noise moves with the user."""
        for market in (whole, rest):
            market.renew(secret)
        return self.before_noise(whole) - self.before_noise(rest)


def kinds_of(market: Market) -> list[Kind]:
    """What a market releases under its recipe."""
    plan = market_plan(market.node, market.recipe)
    clip_norm = market.recipe.privacy.clip_norm
    users = market.node.store.users
    update = []
    if plan.update is not None:
        before = partial(_first_sum, users=users, release=replace(plan.update, steps=1))
        update = [Kind(UPDATE, plan.update, clip_norm, before, _step_seen)]
    pairs = [Kind(PAIRS_RELEASE, plan.pairs, 1.0, _pairs, _pairs_seen)] if plan.pairs is not None else []
    return [*update, *pairs]


def _first_sum(market: Market, users: int, release: Release) -> Floats:
    """Clipped gradients, summed, of the round's first step: the only one whose parameters are known beforehand.

    ``users``, ``release``: of the whole market, for sizes are public constants; a rate that moved with the size would
    flip the coins of others.
    """
    node, recipe, start = market.node, market.recipe, market.start
    question = Instruction(recipe, 1, start, {})
    trainer = make_sequential_trainer(node, recipe, "federated")
    trainer.load(tensors(start))
    steps, _ = private_steps(node, recipe, 1, asked(node, question), made_of(node, "federated", question))
    sums: list[State] = []

    class Recorded(PrivateSteps):
        def noised(self, total: State, step: int) -> State:
            sums.append({name: value.double() for name, value in total.items()})
            return super().noised(total, step)

    recorded = Recorded(**{**vars(steps), "release": release, "users": users})
    trainer.pretrain_privately(recorded, recipe.privacy.trains)
    return _flat({name: value.numpy() for name, value in sums[0].items()})


def _step_seen(market: Market) -> Floats:
    """How the parameters that train moved, against the noised gradients."""
    start = market.start
    answer = market.ask(PRETRAIN, start)
    trained = [name for name in start if market.recipe.privacy.trains == "everything" or name.startswith("encoder.")]
    return _flat({name: start[name] for name in trained}) - _flat({name: answer[name] for name in trained})


def _pairs(market: Market) -> Floats:
    return pair_statistic(market.node.prepare(market.recipe).train.matrix())


def _pairs_seen(market: Market) -> Floats:
    recipe = market.recipe
    action = GRAM if recipe.sums_counts else STATISTICS if recipe.sums_statistics else CATALOGUE
    return np.asarray(market.ask(action)[PAIRS], np.float64)


def _audited(kind: Kind, whole: Market, rest: Market, runs: int, progress: Progress) -> dict[str, Any]:
    generator = numpy_generator(whole.recipe.seed, "black box", kind.what)
    delta = whole.recipe.privacy.delta
    moves = [kind.moved(whole, rest, generator.bytes(SECRET_BYTES)) for _ in range(_SHADOWS)]
    direction = np.mean(moves, axis=0)

    def answers(count: int, what: str) -> tuple[Floats, Floats]:
        found = []
        for number in range(count):
            progress(f"{kind.what}: {what}, {number + 1} of {count}")
            for market in (rest, whole):
                market.renew(generator.bytes(SECRET_BYTES))
                found.append(float(kind.seen(market) @ direction))
        return np.array(found[::2]), np.array(found[1::2])

    threshold = best_threshold(
        *answers(max(1, round(_LEARNING * runs)), "answers that choose the threshold"), runs, delta
    )
    found = proof(*answers(runs, "answers that are counted"), threshold, delta)
    return {
        "what": kind.what,
        "epsilon_stated": epsilon([kind.release], delta, whole.recipe.privacy.accountant),
        "epsilon_at_least": found.counted,
        "fitted": found.fitted,
        "provable": found.provable,
        "moved": max(float(np.linalg.norm(move)) for move in moves) / kind.largest,
    }


def _most_visible(store: MarketStore, whole: Market, scratch: Path, kind: Kind) -> str:
    """Of the users with the longest, the median and a short history, the one who moves the sum before noise most."""
    lengths = store.rows.group_by(Columns.USER).len().sort("len", Columns.USER)
    able = lengths.filter(lengths["len"] >= _SHORTEST)
    if not able.height:
        raise UserError(f"market {store.name!r}: nobody has {_SHORTEST} interactions; audit another with --market")
    candidates: list[str] = able[Columns.USER].gather([0, able.height // 2, able.height - 1]).unique().sort().to_list()
    secret = numpy_generator(whole.recipe.seed, "black box", "user").bytes(SECRET_BYTES)
    moves = {}
    for number, user in enumerate(candidates):
        rest = whole.without(store, user, scratch / f"candidate {number}")
        moves[user] = float(np.linalg.norm(kind.moved(whole, rest, secret)))
    return max(moves, key=lambda user: moves[user])


def _flat(arrays: Mapping[str, Array]) -> Floats:
    return np.concatenate([np.asarray(array, np.float64).ravel() for _, array in sorted(arrays.items())])
