"""A simulated run once more, with an observer attached: for audits. Nothing that is observed is ever stored.

The markets' noise secrets lie in the run's folder and are lent to the replay, so that a run is replayed to the bit. It
is made in a folder of its own, which is deleted; it ends when what comes next shows the server nothing but figures.
"""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict

from fedrec.attacks.observation import Observation, Round
from fedrec.clients.app import app as client_app
from fedrec.clients.node import MarketNode
from fedrec.exchange.declaration import (
    CATALOGUE,
    CODEBOOK,
    CTR,
    FINETUNE,
    GRAM,
    INSTALL,
    LOCAL_BASELINES,
    PRETRAIN,
    REPORT,
    STATISTICS,
)
from fedrec.exchange.noised_pairs import PAIRS
from fedrec.exchange.payload import CONFIG, PART, SCORES, Origin, Payload
from fedrec.exchange.pipeline import UpdatePipeline
from fedrec.exchange.update import update_stages
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.runs.folder import RunFolder
from fedrec.runs.shared import read_shared_model
from fedrec.server.app import app as server_app
from fedrec.simulation.inline import InlineGrid
from fedrec.simulation.nodes import RUN_ID, NodeConfig, allowances
from fedrec.simulation.run import FinishedRun
from fedrec.strategies.records import read_answer

_STAGES = {PRETRAIN: "pretrain", CODEBOOK: "codebook"}
_SILENT = {"local", "nocodes", "randomcodes"}  # they send nothing before the replay is over
_AFTERWARDS = {FINETUNE, CTR, REPORT, *LOCAL_BASELINES.values()}


@dataclass(frozen=True)
class Replay:
    """What was observed, and the markets as they stood when it was over (as long as the replay lasts)."""

    observation: Observation
    recipe: Recipe  # resolved
    nodes: dict[str, MarketNode]
    identical: bool | None  # to the run's own shared parameters; None where other users took part, or masks were on
    scores: "Replay | None" = None  # the part of the run that trained a model for scores


class _RoundsAreOverError(Exception):
    """Raised inside the replay: there is nothing left to observe."""


class _ObservedGrid(InlineGrid):
    """Everything the server sends and receives, as the server decodes it."""

    def __init__(self, node_configs: list[NodeConfig], recipe: Recipe) -> None:
        super().__init__(client_app, node_configs)
        self.observations: dict[str, Observation] = defaultdict(Observation)  # by part of the run
        self._pipeline = UpdatePipeline(update_stages(recipe.update))

    def push_messages(self, messages: Any) -> Any:
        """End the replay before the first message of what comes after the rounds."""
        messages = list(messages)
        if any(message.metadata.message_type in _AFTERWARDS and not _part(message) for message in messages):
            raise _RoundsAreOverError
        return super().push_messages(messages)

    def _deliver(self, identifier: str, question: Message, reply: Message) -> None:
        super()._deliver(identifier, question, reply)
        market, action = self.node_configs[question.metadata.dst_node_id].market, question.metadata.message_type
        observation = self.observations[_part(question)]
        if action == INSTALL:
            sent = read_answer(question, market).payload.arrays
            if "semantics" in sent:
                observation.vectors[market] = np.array(sent["semantics"])
            elif "monthly.count" in sent:
                observation.others[market] = dict(sent)
            elif sent:
                observation.counts[market] = dict(sent)
            return
        answer = read_answer(reply, market)
        if answer.error is not None:
            return
        if action in {CATALOGUE, GRAM}:
            observation.pairs[market] = answer.payload
        elif action == STATISTICS:
            told = observation.pairs if PAIRS in answer.payload.arrays else observation.statistics
            told[market] = answer.payload
        elif action in _STAGES:
            sent = read_answer(question, market).payload.arrays
            self._note(observation.rounds, _STAGES[action], answer.origin.round, sent, market, answer.payload)

    def _note(self, rounds: list[Round], stage: str, number: int, sent: Any, market: str, payload: Payload) -> None:
        if not rounds or (rounds[-1].stage, rounds[-1].number) != (stage, number):
            rounds.append(Round(stage, number, sent, {}))
        base = {name: array for name, array in sent.items() if name in payload.arrays}
        whole = Payload(payload.arrays, payload.scalars, base=base, statistics=payload.statistics)
        rounds[-1].uploads[market] = self._pipeline.incoming(whole, Origin(market, number, stage))


def _part(message: Message) -> str:
    return str(message.content.config_records[CONFIG].get(PART, ""))


@contextmanager
def replayed(finished: FinishedRun, left_out: float) -> Iterator[Replay]:
    """The run again; where all users took part in it, without a random share ``left_out`` of them."""
    recipe, exact = finished.recipe, finished.recipe.data.user_share < 1
    kept = recipe.data.user_share if exact else 1 - left_out
    methods = [m for m in recipe.evaluation.methods if m not in _SILENT]
    recipe = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"user_share": kept}),
            "masks": recipe.masks.model_copy(update={"enabled": False}),  # to see what they hide
            "evaluation": recipe.evaluation.model_copy(update={"methods": methods}),
        }
    )
    with tempfile.TemporaryDirectory(prefix="fedrec-audit-") as scratch:
        run = RunFolder.create(Path(scratch) / finished.run.path.resolve().name, recipe)
        if (finished.run.path / "secret").is_file():  # the server's own, where it keeps whole markets private
            shutil.copy2(finished.run.path / "secret", run.path / "secret")
        folders = {store.name: run.markets / store.name for store in finished.stores}
        for market, folder in folders.items():
            secret = finished.run.markets / market / "secret"
            if secret.is_file():
                folder.mkdir(parents=True)
                shutil.copy2(secret, folder / "secret")
        state = {"state-path": scratch, **allowances(recipe)}
        node_configs = [
            NodeConfig({**state, "market": store.name, "data-path": str(store.path.resolve())}, store.count)
            for store in finished.stores
        ]
        config = {
            "recipe": recipe_json(recipe),
            "run-folder": str(run.path),
            "markets": ",".join(sorted(folders)),
            "engine": "inline",
            "dataset": finished.summary["dataset"],
        }
        grid = _ObservedGrid(node_configs, recipe)
        with suppress(_RoundsAreOverError):
            server_app(grid, Context(RUN_ID, 0, {}, RecordDict(), config))
        shared = _shared(run)
        grid.observations[""].final = shared or {}
        own = _shared(finished.run)
        identical = _equal(shared, own) if exact and shared and not finished.recipe.masks.enabled else None
        nodes = {store.name: MarketNode(store, folders[store.name], recipe.text_model) for store in finished.stores}
        resolved, scores = load_recipe(str(run.path / "recipe.yaml")), None
        if resolved.scores.on:
            grid.observations[SCORES].final = _shared(run.part(SCORES)) or {}
            within = {name: node.within(SCORES) for name, node in nodes.items()}
            scores = Replay(grid.observations[SCORES], resolved.scoring, within, identical)
        yield Replay(grid.observations[""], resolved, nodes, identical, scores)


def _shared(run: RunFolder) -> dict[str, Any] | None:
    """The shared parameters in the end: the model's, else the codebook's; None of a run that shares none."""
    for folder in (run.shared, run.codebook):
        if (folder / "model.json").is_file():
            return read_shared_model(folder).parameters
    return None


def _equal(left: dict[str, Any], right: dict[str, Any] | None) -> bool:
    if right is None:
        return False
    return set(left) == set(right) and all(np.array_equal(left[name], right[name]) for name in left)
