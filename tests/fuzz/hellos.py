"""Markets that lie: hostile hellos, catalogues and reports, as the coordinator meets them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict

from fedrec.exchange.declaration import CATALOGUE, GRAM, HELLO, INSTALL, REPORT, VOCABULARY
from fedrec.exchange.payload import ARRAYS, SCALARS, TEXTS
from fedrec.files import read_json, write_json
from fedrec.recipe import Recipe, load_recipe
from fedrec.runs.folder import RunFolder
from fedrec.semantics.base import HouseSettings
from fedrec.semantics.factory import make_semantics
from fedrec.server.catalogues import share_gram, share_semantics, share_vocabulary
from fedrec.server.coordinator import Coordinator
from fedrec.server.federation import Federation
from fedrec.simulation.inline import FIRST_NODE, InlineGrid
from fedrec.simulation.nodes import NodeConfig
from tests.fuzz.ground import BASELINES, ground
from tests.fuzz.judge import BrokenRuleError, Case, Step, command
from tests.fuzz.values import ESCAPE, word

_LONGEST = 100  # of a text that is kept of a market
_LONGEST_REASON = 400
_HONEST, _LIAR = "alfa", "bravo"


@dataclass
class _Words:
    """What a reply holds; or its error, or none of our records."""

    scalars: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    error: Error | None = None
    strange: Callable[[RecordDict], None] | None = None  # what else is wrong with its content

    def reply(self, question: Message) -> Message:
        """As Flower carries it."""
        if self.error is not None:
            return Message(self.error, reply_to=question)
        content = RecordDict()
        if self.arrays:
            content[ARRAYS] = ArrayRecord(self.arrays)
        content[SCALARS] = MetricRecord(self.scalars)
        content[TEXTS] = ConfigRecord(self.texts)
        if self.strange is not None:
            self.strange(content)
        return Message(content, reply_to=question)


Lie = Mapping[str, _Words]  # by action
Codes = Sequence[set[int]]


def hello_case(chance: random.Random, folder: Path) -> Case:
    """One market tells the truth, the other does not."""
    make = chance.choice([_discovered, _discovered, _discovered, _welcomed, _shared, _shared, _reported, _reported])
    what, steps, codes = make(chance, folder)
    return Case(what, steps, codes)


def _hello(market: str) -> _Words:
    sizes = {"users": 20.0, "items": 30.0, "interactions": 200.0, "has_text": 1.0, "has_families": 0.0}
    return _Words(sizes, {"market": market, "device": "cpu"})


def _catalogue(diagonal: bool = False) -> _Words:
    first, second = [0, 0, 1], [1, 2, 2]
    if diagonal:
        first, second = [0, 1, 2, *first], [0, 1, 2, *second]
    counts = [4] * 3 if not diagonal else [9, 9, 9, 4, 4, 4]
    arrays = {"first": first, "second": second, "count": counts}
    return _Words(
        texts={"items": ["item-1", "item-2", "item-3"]},
        arrays={name: Array(np.array(values, np.int32)) for name, values in arrays.items()},
    )


def _report() -> _Words:
    scalars = {"users": 20.0, "popularity.ndcg@10": 0.1, "popularity.recall@10": 0.2, "popularity.ndcg@20": 0.1}
    return _Words(scalars)


def _honest() -> dict[str, _Words]:
    catalogue = _catalogue()
    return {
        VOCABULARY: _Words(texts=dict(catalogue.texts)),
        CATALOGUE: catalogue,
        GRAM: _catalogue(diagonal=True),
        INSTALL: _Words(),
        REPORT: _report(),
    }


def _grid(lie: Lie) -> InlineGrid:
    """Two nodes; the second is the liar's, and honest wherever the lie says nothing."""

    def app(message: Message, context: Context) -> Message:
        market = str(context.node_config["market"])
        answers = {**_honest(), HELLO: _hello(market), **(lie if market == _LIAR else {})}
        return answers[message.metadata.message_type].reply(message)

    return InlineGrid(app, [NodeConfig({"market": name}, 1) for name in (_HONEST, _LIAR)])  # type: ignore[arg-type]


def _federation(chance: random.Random, lie: Lie, recipe: Recipe) -> Federation:
    keyed = chance.random() < 0.3
    owners = {FIRST_NODE: _HONEST, FIRST_NODE + 1: _LIAR}
    return Federation(_grid(lie), "run", recipe, owners.get if keyed else None)


def _recipe(*overrides: str) -> Recipe:
    return load_recipe("fecosr", ["semantics.kind=cooccurrence", "semantics.dimension=4", *overrides])


def _discovered(chance: random.Random, _folder: Path) -> tuple[str, list[Step], Codes]:
    """A hello that lies, to a coordinator that waits for both markets."""
    lie = _spoilt_hello(chance)
    federation = _federation(chance, {HELLO: lie}, _recipe())
    refusals: list[str] = []
    federation.on_refusal = lambda market, node, reason: refusals.extend([market, reason])

    def discover() -> None:
        try:
            federation.discover([_HONEST, _LIAR], 0.0)
        finally:
            _bounded(refusals, _LONGEST_REASON)
        _members_bounded(federation)

    return f"hello: {_in_short(lie)}", [discover], ({0, 1},)


def _welcomed(chance: random.Random, _folder: Path) -> tuple[str, list[Step], Codes]:
    """A hello that lies, from a node that comes while the run is under way."""
    lie = _spoilt_hello(chance)
    told: dict[str, _Words] = {}
    federation = _federation(chance, told, _recipe())
    refusals: list[str] = []
    federation.on_refusal = lambda market, node, reason: refusals.extend([market, reason])

    def come_back() -> None:
        federation.discover([_HONEST, _LIAR], 0.0)
        grid = federation.grid
        if isinstance(grid, InlineGrid):  # the liar's node has gone, and another has come
            for entries in (grid.node_configs, grid._contexts):
                entries[FIRST_NODE + 2] = entries.pop(FIRST_NODE + 1)  # type: ignore[attr-defined]
        told[HELLO] = lie
        federation.welcome_back()
        _bounded(refusals, _LONGEST_REASON)
        _members_bounded(federation)

    return f"welcome back: {_in_short(lie)}", [come_back], ({0, 1},)


def _shared(chance: random.Random, _folder: Path) -> tuple[str, list[Step], Codes]:
    """A catalogue with counts that lies."""
    action = chance.choice([VOCABULARY, CATALOGUE, GRAM])
    lie = _spoilt(chance, _honest()[action])
    recipe = _recipe()
    federation = _federation(chance, {action: lie}, recipe)

    def share() -> None:
        federation.discover([_HONEST, _LIAR], 0.0)
        if action == VOCABULARY:
            share_vocabulary(federation)
        elif action == CATALOGUE:
            share_semantics(federation, make_semantics(HouseSettings(kind="cooccurrence", dimension=4), 0), {})
        else:
            share_gram(federation, recipe.fedease, {})

    return f"{action}: {_in_short(lie)}", [share], ({0, 1},)


def _reported(chance: random.Random, folder: Path) -> tuple[str, list[Step], Codes]:
    """A whole run in which one hello or report lies; where it ends well, its folder can be read."""
    action = chance.choice([HELLO, REPORT, REPORT])
    lie = _spoilt_hello(chance) if action == HELLO else _spoilt(chance, _report(), _METRICS)
    recipe = load_recipe("baselines", BASELINES)

    def lead() -> None:
        run = RunFolder.create(folder / "run", recipe)
        write_json(run.path / "manifest.json", read_json(ground() / "baselines" / "run" / "manifest.json"))
        Coordinator(_grid({action: lie}), run, recipe, 0.0).lead([_HONEST, _LIAR], "inline", "data")
        for name in ("summary.json", "events.jsonl", "journal.json"):
            longest = max(map(len, (run.path / name).read_text(encoding="utf-8").splitlines()), default=0)
            if longest > 20_000:
                raise BrokenRuleError(f"{name} has a line of {longest} characters")

    what = f"run, {action}: {_in_short(lie)}"
    if chance.random() < 0.4:
        return what, [lead, command("report", "run")], ({0, 1}, {0})
    return what, [lead, command("compare", "run", ground() / "baselines" / "run")], ({0, 1}, {0, 2})


_METRICS = ["popularity.ndcg@10", "popularity.auc", "popularity.logloss", "federated.ndcg@10", "ease.lam", "users",
            "difference.federated.local.ndcg@10.mean", "difference.federated.local.ndcg@10.low",
            "popularity.coverage@10",
            "difference.popularity.popularity.logloss.high", "federated_without_prior.ndcg@10", "prior.mrr@20",
            "difference.federated.popularity.ndcg@10.mean", "difference.federated.local.auc.mean",
            "fedease.popularity_weight",
            "pooled.ndcg@10", "local.gauc"]  # fmt: skip


def _spoilt_hello(chance: random.Random) -> _Words:
    words = _spoilt(chance, _hello(_LIAR), ["users", "items", "interactions", "has_text", "has_families"])
    if chance.random() < 0.4 and words.error is None:
        name = chance.choice(["market", "device"])
        words.texts[name] = _text(chance)
    return words


def _spoilt(chance: random.Random, words: _Words, names: list[str] | None = None) -> _Words:
    """The words with one to three parts of them spoilt."""
    for _ in range(chance.choice([1, 1, 2, 3])):
        shape = chance.random()
        if shape < 0.3:
            words.scalars[chance.choice([*(names or []), *words.scalars] or ["weight"])] = _scalar(chance)
        elif shape < 0.5:
            words.texts[chance.choice([*words.texts, "market", "device", "items"])] = _text(chance)
        elif shape < 0.6:
            part = chance.choice([words.scalars, words.texts, words.arrays])
            if part:
                del part[chance.choice(sorted(part))]
        elif shape < 0.7:
            part = chance.choice([words.scalars, words.texts])
            part[word(chance)] = _scalar(chance) if part is words.scalars else _text(chance)
        elif shape < 0.9:
            words.arrays[chance.choice([*words.arrays, "first", "second", "count", "statistics.x", word(chance)])] = (
                _array(chance)
            )
        elif shape < 0.95:
            words.error = Error(
                chance.choice([0, 1, 1000, -1, 2**31 - 1, 10, 1001]), chance.choice([_long(chance), word(chance)])
            )
        else:
            words.strange = chance.choice(_STRANGE)
    return words


def _scalar(chance: random.Random) -> Any:
    """A number as a market may send it, or a list of them."""
    return chance.choice(
        [float("nan"), float("inf"), float("-inf"), -1.0, 0.0, -0.0, 0.5, 1e12, 1e13, 1e308, 5e-324, 2**53 + 1,
        2**63 - 1, -(2**63),
         2**64 - 1, 0, 1, [], [1.0], [1.0, 2.0], [float("nan")], [1] * 10_000, 1.0000001, 1e-300, 999999999999.9]
    )  # fmt: skip


def _text(chance: random.Random) -> Any:
    """A text as a market may send it, or a list, or what is none."""
    return chance.choice(
        [_long(chance), word(chance), word(chance), word(chance), "cpu", "alfa", "bravo", "charlie", f"cuda{ESCAPE}",
        b"bytes", b"\xff" * 1000,
         b"", True, 1, 1.5, float("nan"), 2**63 - 1, [], [""], ["cpu"], ["item-1", "item-1"],
         ["item-1", word(chance), "item-3"],
         [word(chance) for _ in range(3)], [f"{n}" for n in range(300_000)], ["x" * 1_000_000] * 3,
         [f"{n}" + "x" * 512 for n in range(3)],
         [b"a", b"b"], [1, 2], [True], [1.5], ["a", "b"], ["item-1", "item-2", "item-3", "item-4"], "", "", [""]]
    )  # fmt: skip


def _long(chance: random.Random) -> str:
    return chance.choice(
        ["x" * 5_000_000, ESCAPE * 1000, "\n" * 10_000, "é" * 1000, "a b " * 1000, "\u202e" * 500, "x" * 101, "x" * 100]
    )


def _array(chance: random.Random) -> Array:
    """An array, or bytes that are said to be one."""
    sound = Array(np.array([0, 1, 2], np.int32))
    return chance.choice(
        [
            lambda: Array(np.array([0, 1, 2], np.int64)), lambda: Array(np.array([-1, 1, 2], np.int32)),
            lambda: Array(np.array([0, 1, 2**31 - 1], np.int32)), lambda: Array(np.array([2, 2, 2], np.int32)),
            lambda: Array(np.zeros((3, 3), np.int32)), lambda: Array(np.zeros(0, np.int32)),
            lambda: Array(np.array(5, np.int32)),
            lambda: Array(np.array([1.5, np.nan, np.inf], np.float32)), lambda: Array(np.array(["a", "b"])),
            lambda: Array(np.array([True, False])), lambda: Array(np.array([1 + 2j])),
                                    lambda: Array(np.zeros(300_000, np.int32)),
            lambda: Array("int32", (3,), "numpy.ndarray", b""),
            lambda: Array("int32", (3,), "numpy.ndarray", b"\x93NUMPY"),
            lambda: Array("int32", (3,), "pickle", sound.data),
            lambda: Array("int32", (10**9,), "numpy.ndarray", sound.data),
            lambda: Array("object", (3,), "numpy.ndarray", chance.randbytes(200)),
            lambda: Array("int32", (3,), "numpy.ndarray", sound.data.replace(b"(3,)", b"(9,)")),
            lambda: Array("int32", (3,), "numpy.ndarray", sound.data.replace(b"(3,)", b"(-1,)")),
            lambda: Array("int32", (3,), "numpy.ndarray", sound.data.replace(b"<i4", b"|O8")),
            lambda: Array("int32", (3,), "numpy.ndarray", sound.data.replace(b"(3,), ", b"(10**9")),
            lambda: Array("int32", (3,), "numpy.ndarray", sound.data.replace(b"(3,)", b"(99999999999,)")),
            lambda: Array(np.array([2**31 - 1] * 3, np.int32)),
        ]
    )()  # fmt: skip


def _without(name: str) -> Callable[[RecordDict], None]:
    def strange(content: RecordDict) -> None:
        del content[name]

    return strange


def _crossed(content: RecordDict) -> None:
    scalars, texts = content.pop(SCALARS), content.pop(TEXTS)
    content[SCALARS], content[TEXTS] = texts, scalars


def _emptied(content: RecordDict) -> None:
    content.clear()


def _more(content: RecordDict) -> None:
    content["x" * 10_000] = ConfigRecord({"x": "y"})
    content["arrays\x1b[31m"] = ArrayRecord({"a": Array(np.zeros(3))})


def _all_configuration(content: RecordDict) -> None:
    content.pop(ARRAYS, None)
    content[ARRAYS] = ConfigRecord({"items": "x"})


_STRANGE = [_without(SCALARS), _without(TEXTS), _crossed, _emptied, _more, _all_configuration]


def _members_bounded(federation: Federation) -> None:
    for market, member in federation.members.items():
        _bounded([market, member.device], _LONGEST)


def _bounded(texts: list[str], longest: int) -> None:
    for text in texts:
        if len(text) > longest or not text.isprintable():
            raise BrokenRuleError(f"kept of a market: {len(text)} characters, {text[:60]!r}")


def _in_short(words: _Words) -> str:
    if words.error is not None:
        return f"error {words.error.code} {str(words.error.reason)[:30]!r}"
    parts = [f"{name[:30]!r}: {str(value)[:40]!r}" for name, value in [*words.scalars.items(), *words.texts.items()]]
    arrays = [f"{name[:20]!r}: {array.dtype} {array.shape}" for name, array in words.arrays.items()]
    strange = [words.strange.__name__] if words.strange is not None else []
    return ", ".join([*parts, *arrays, *strange])
