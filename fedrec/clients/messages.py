"""Between Flower messages and our own payloads, at the market; the one place where a reply is made.

Every payload passes the update pipeline and so the egress ledger; the text of an error goes into the ledger too. Only a
node that does not know its own market yet has no ledger: it sends nothing but the kind of its error.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict

from fedrec.clients.admission import admit, refuse_plugins
from fedrec.clients.figures import tells
from fedrec.clients.instruction import Instruction
from fedrec.clients.masks import MASKED, mask_stage
from fedrec.clients.memory import FileMemory
from fedrec.clients.node import MarketNode, open_node
from fedrec.clients.privacy import guard_stage
from fedrec.components.stage import Stage
from fedrec.errors import LOGGED, RunError
from fedrec.exchange.declaration import CATALOGUE, GRAM, REPORT, STATISTICS
from fedrec.exchange.groups import NOTHING
from fedrec.exchange.ledger import CountStage
from fedrec.exchange.payload import ARRAYS, CONFIG, OPENED, PART, SCALARS, SCORES, TEXTS, Array, Origin, Payload
from fedrec.exchange.pipeline import UpdatePipeline
from fedrec.exchange.update import update_stages
from fedrec.files import exclusively
from fedrec.flower_arrays import flower_array, numpy_of
from fedrec.models.groups import groups_of
from fedrec.recipe import Recipe
from fedrec.threads import single_threaded

CLIENT_ERROR = 1000  # Flower keeps lower codes for its own errors


Task = Callable[[MarketNode, Instruction], Payload]


def answer(message: Message, context: Context, task: Task) -> Message:
    """Run ``task`` on one thread and reply with what the pipeline lets through.

    A failing task becomes an error reply. Its text is the exception's own only where that is known to quote no data;
    the full story stays in the market's log.
    """
    action = message.metadata.message_type
    node, part = None, ""
    try:
        config = message.content.config_records[CONFIG]
        node = open_node(context, str(config["run"]))
        refuse_plugins(node, str(config["recipe"]))
        instruction = Instruction(
            _recipe(str(config["recipe"])),
            int(str(config["round"])),
            _arrays(message, ARRAYS),
            _texts(message),
            _arrays(message, OPENED),
        )
        part = _part(instruction.recipe, action, str(config.get(PART, "")))
        origin = Origin(node.store.name, instruction.round, action, part)
        with exclusively(node.folder / ".answering"):  # what is pinned, charged and remembered is read and then written
            admit(node, instruction.recipe, action)
            if part:
                node, instruction = node.within(part), replace(instruction, recipe=instruction.recipe.scoring)
            with single_threaded():
                payload = task(node, instruction)
            sent = _pipeline(node, instruction, action).outgoing(payload, origin)
        return Message(_records(sent), reply_to=message)
    except Exception as error:
        reason = safe_reason(error)
        if node is not None:
            failed = Origin(node.store.name, _group(message), action, part)
            CountStage(node.ledger, NOTHING).record(Payload(texts={"error": reason}), failed)
            _log(node, action)
        return Message(Error(CLIENT_ERROR, reason), reply_to=message)


@lru_cache(maxsize=4)
def _recipe(text: str) -> Recipe:
    """The same for all markets of this process, in question after question."""
    return Recipe.model_validate_json(text)


def _part(recipe: Recipe, action: str, part: str) -> str:
    """The part of the run that a question belongs to; empty for the run itself."""
    if part and (part != SCORES or not recipe.scores.on):
        raise RunError("the question is of a part that this run's recipe does not have")
    if part and action == REPORT:
        raise RunError("a part of a run is not evaluated; the test is for what the run ends with")
    counts = action in {CATALOGUE, GRAM, STATISTICS} and recipe.releases_pairs
    if part and counts and recipe.scores.pairs == "once":
        raise RunError("scores.pairs once: a second count of pairs could be subtracted from the first")
    return part


def _pipeline(node: MarketNode, instruction: Instruction, action: str) -> UpdatePipeline:
    """The stages between a task's payload and the wire; the ledger is the last."""
    recipe = instruction.recipe
    stages: list[Stage] = [
        *update_stages(recipe.update, FileMemory(node.folder)),
        CountStage(node.ledger, groups_of(action, recipe.algorithm.kind)),
    ]
    if recipe.privacy.on:
        stages.append(guard_stage(node, recipe, lambda origin: tells(node, instruction, origin.action)))
    if recipe.masks.enabled and action in MASKED:
        stages.append(mask_stage(node, instruction))
    return UpdatePipeline(stages)


def safe_reason(error: Exception) -> str:
    """What may be said of an error outside the market: our own run errors; of all others only the kind.

    Texts of other errors may quote a row of data, a path of this host, or an undeclared name.
    """
    if isinstance(error, RunError):
        return str(error)
    kind = f"{type(error).__name__} ({LOGGED})"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return f"out of memory; smaller training.batch_size or ease.dense_items need less: {kind}"
    return kind


def _log(node: MarketNode, action: str) -> None:
    """Write the current exception into the market's own log."""
    node.log.parent.mkdir(parents=True, exist_ok=True)
    with node.log.open("a", encoding="utf-8") as stream:
        stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {action} failed\n{traceback.format_exc()}\n")


def _group(message: Message) -> int:
    group = message.metadata.group_id
    return int(group) if group.isascii() and group.isdigit() else 0


def _arrays(message: Message, record: str) -> dict[str, Array]:
    records = message.content.array_records
    return {name: numpy_of(array) for name, array in records[record].items()} if record in records else {}


def _texts(message: Message) -> dict[str, list[str]]:
    records = message.content.config_records
    return {name: list(map(str, value)) for name, value in records[TEXTS].items()} if TEXTS in records else {}  # type: ignore[arg-type]


def _records(payload: Payload) -> RecordDict:
    records = RecordDict()
    if payload.sent:
        records[ARRAYS] = ArrayRecord({name: flower_array(array) for name, array in sorted(payload.sent.items())})
    if payload.scalars:
        records[SCALARS] = MetricRecord({name: float(value) for name, value in sorted(payload.scalars.items())})
    if payload.texts:
        texts = sorted(payload.texts.items())
        records[TEXTS] = ConfigRecord({name: t if isinstance(t, str) else list(t) for name, t in texts})
    return records
