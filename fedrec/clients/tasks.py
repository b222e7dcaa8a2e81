"""What a market does when asked, one function per action. Each returns what may leave; the rest stays on disk."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from logging import getLogger
from typing import Any, TypeVar

from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors

from fedrec.clients.carried import carried, carry
from fedrec.clients.codes import report_ctr
from fedrec.clients.figures import shared_figures
from fedrec.clients.instruction import Instruction, refuse_unvalidated
from fedrec.clients.local_term import round_term
from fedrec.clients.masks import follow_sum, forget_masks
from fedrec.clients.memory import arrays_of, tensors
from fedrec.clients.methods import (
    finished_methods,
    make_sequential_trainer,
    make_trainer,
    own_statistics,
    shared_trainer,
)
from fedrec.clients.node import MarketNode
from fedrec.clients.pacer import pacer_of
from fedrec.clients.privacy import noised_pairs, private_steps
from fedrec.clients.question import asked, made_of, received
from fedrec.clients.seal import seal
from fedrec.data.catalogue import own_vocabulary
from fedrec.errors import RunError
from fedrec.exchange.declaration import PRETRAIN, REFIT
from fedrec.exchange.pairs import count_pairs
from fedrec.exchange.payload import SCORES, Array, Payload
from fedrec.files import write_atomic, write_json
from fedrec.memory_plan import free_memory, memory_plan, too_large
from fedrec.recipe import Recipe, recipe_json
from fedrec.semantics.counted import CountedSemantics
from fedrec.semantics.factory import make_semantics
from fedrec.training.device import choose_device
from fedrec.training.report import evaluate_market
from fedrec.training.sequential import SequentialTrainer
from fedrec.training.stages import Finished, LocalTrainer, State

_log = getLogger("fedrec.market")
Value = TypeVar("Value")
Trainer = TypeVar("Trainer", bound=LocalTrainer[Any])


def hello(node: MarketNode, instruction: Instruction) -> Payload:
    """Say which market this is and how large."""
    store, private = node.store, instruction.recipe.privacy.on
    plan = memory_plan(instruction.recipe, store.users, store.items, store.count)
    reason = too_large({store.name: plan}, free_memory())
    if reason is not None:  # its numbers are this host's, and of the rows
        _log.warning("%s", reason)
        raise RunError(
            "this host's memory does not hold what the recipe keeps (how much is in the node's log); set a smaller "
            "ease.dense_items or ease.neighbours, or take fewer users (data.user_share)"
        )
    return Payload(
        scalars={
            "users": store.users,
            "items": store.catalogue.height if private else store.items,
            "interactions": store.count,
            "has_text": float(store.has_text),
            "has_families": float(store.families is not None),
            "min_users": float(node.min_users),
        },
        texts={"market": store.name, "device": choose_device(instruction.recipe.training.device).type},
    )


def vocabulary(node: MarketNode, instruction: Instruction) -> Payload:
    """Item keys, nothing else."""
    recipe = instruction.recipe
    if not (recipe.shares_vocabulary or recipe.releases_pairs):
        raise RunError("this recipe shares no item keys; none are sent")
    own = own_vocabulary(node.store, recipe.splitting, recipe.seed, node.draws(recipe))
    union = recipe.evaluation.catalogue == "union"  # of which validation ranks a part
    return Payload(texts={"items": own.items, **({"learned": own.learned} if union else {})})


def catalogue(node: MarketNode, instruction: Instruction) -> Payload:
    """Item keys and, for shared semantics, how many users had both items of a pair."""
    if not instruction.recipe.sends_keys:
        raise RunError("this recipe shares no item keys; none are sent")
    market = node.prepare(instruction.recipe)
    semantics = make_semantics(instruction.recipe.semantics, instruction.recipe.seed)
    if not isinstance(semantics, CountedSemantics):
        raise RunError(f"semantics {instruction.recipe.semantics.kind!r} exchanges nothing; no catalogue is sent")
    if instruction.recipe.privacy.on:
        return noised_pairs(node, instruction.recipe)
    return Payload(count_pairs(market.evidence.histories, semantics.min_count).arrays(), texts={"items": market.items})


def gram(node: MarketNode, instruction: Instruction) -> Payload:
    """Item keys and the Gram matrix of the train histories: how many users had each item, and each two."""
    if not instruction.recipe.sums_counts:
        raise RunError("this recipe sums no counts; none are sent")
    if instruction.recipe.privacy.on:
        return noised_pairs(node, instruction.recipe)
    market = node.prepare(instruction.recipe)
    counts = count_pairs(market.train.matrix(), instruction.recipe.fedease.min_count, diagonal=True)
    return Payload(counts.arrays(), texts={"items": market.items})


def statistics(node: MarketNode, instruction: Instruction) -> Payload:
    """Item keys and counts of users: of item pairs by what lies between the two, of items by month.

    Under privacy item pairs under noise, and nothing else.
    """
    if instruction.recipe.privacy.on and instruction.recipe.sums_statistics:
        return noised_pairs(node, instruction.recipe)
    counts = own_statistics(node, instruction.recipe)
    return Payload(counts.arrays(), texts={"items": node.prepare(instruction.recipe).items})


def pretrain(node: MarketNode, instruction: Instruction) -> Payload:
    """One federated round: validate the model that came, then train it."""
    started = time.perf_counter()
    recipe, number = instruction.recipe, instruction.round
    if recipe.masks.enabled:
        follow_sum(node, instruction, PRETRAIN, lambda: _untrained(node, recipe))
    if recipe.privacy.on:
        return _pretrain_privately(node, instruction)
    trainer = _start(shared_trainer(node, recipe), instruction)
    trainer.carry_on(carried(node, number - 1))
    validation = trainer.validation()
    scalars, pace = {}, None
    if recipe.pacer.on:
        pacer = pacer_of(node, recipe)
        scalars["transfer_gap"], pace = pacer.set_pace(trainer, recipe, number)
    term = round_term(node, recipe, trainer, number)
    result = trainer.pretrain_round(number, pace, term)
    if term is not None:
        term.keep()
    carry(node, number, trainer.carried_state(), recipe.federation.patience)
    if recipe.pacer.on:
        pacer.follow(number)
    scalars |= {
        "validation": validation,
        "loss": result.loss,
        "weight": trainer.weight,
        "seconds": time.perf_counter() - started,
    }
    if trainer.perplexity is not None:
        scalars["perplexity"] = trainer.perplexity
    update = arrays_of(trainer.model.shared_state())
    return Payload(update, scalars, base=instruction.arrays)


def refit(node: MarketNode, instruction: Instruction) -> Payload:
    """One federated round that learns from validation users too, once validation has chosen all that it chooses."""
    started = time.perf_counter()
    recipe = instruction.recipe
    if recipe.masks.enabled:
        follow_sum(node, instruction, REFIT, lambda: _untrained(node, recipe))
    trainer = _start(shared_trainer(node, recipe), instruction)
    result = trainer.refit_round(instruction.round)
    scalars = {"loss": result.loss, "weight": trainer.refit_weight, "seconds": time.perf_counter() - started}
    return Payload(arrays_of(trainer.model.shared_state()), scalars, base=instruction.arrays)


def _pretrain_privately(node: MarketNode, instruction: Instruction) -> Payload:
    """One federated round under noise. Nothing leaves but the update, and the market's public size."""
    recipe = instruction.recipe
    trainer = _start(_private_trainer(node, recipe), instruction)
    question, whole = asked(node, instruction), made_of(node, "federated", instruction)
    steps, provenance = private_steps(node, recipe, instruction.round, question, whole)
    trainer.pretrain_privately(steps, recipe.privacy.trains)
    update = arrays_of(trainer.model.shared_state())
    scalars = {"weight": float(node.store.users)}
    return Payload(update, scalars, base=instruction.arrays, provenance={"*": provenance})


def validate(node: MarketNode, instruction: Instruction) -> Payload:
    """Judge the shared model on the validation users."""
    refuse_unvalidated(instruction.recipe)
    trainer = _start(shared_trainer(node, instruction.recipe), instruction)
    trainer.carry_on(carried(node, instruction.round))
    return Payload(scalars={"validation": trainer.validation()})


def finetune(node: MarketNode, instruction: Instruction) -> Payload:
    """Stage two, from the shared model that came. The result never leaves."""
    if not instruction.recipe.federates:  # nothing came that was trained together, and all that is learned stays
        return train_local_baseline(node, instruction, "federated")

    def train() -> Finished:
        trainer = _start(make_trainer(node, instruction.recipe, "federated"), instruction)
        trainer.carry_on(carried(node, instruction.round))
        return trainer.finetune()

    payload = _once(node, "federated", instruction, train)
    if instruction.recipe.privacy.reports != "noised" or not instruction.recipe.privacy.on:
        return payload
    trainer = _start(_private_trainer(node, instruction.recipe), instruction)
    noised = shared_figures(node, trainer, instruction.recipe, made_of(node, "federated", instruction))
    return replace(noised, scalars=payload.scalars)


def train_local_baseline(node: MarketNode, instruction: Instruction, method: str) -> Payload:
    """A model of the same budget that averages with nobody: what ``method`` knows of items is all it has.

    ``local``: what this market knows. ``local_shared_semantics``, ``local_shared_statistics``: the federation's item
    vectors, or summed statistics, to tell what is gained without averaging any parameter. ``nocodes``,
    ``randomcodes``: controls of codes.
    """

    recipe = instruction.recipe
    if recipe.scores.on:
        train_local_baseline(node.within(SCORES), replace(instruction, recipe=recipe.scoring), "local")

    def train() -> Finished:
        return make_trainer(node, recipe, method).train_alone(_rounds(instruction))

    return _once(node, method, instruction, train)


def report(node: MarketNode, instruction: Instruction) -> Payload:
    """Every method on the test users; means leave, the mixing weights stay."""
    recipe = instruction.recipe
    forget_masks(node)
    if recipe.task == "ctr":
        payload = report_ctr(node, instruction)
        seal(node, recipe)
        return payload
    market = node.prepare(recipe)
    result = evaluate_market(finished_methods(node, recipe))
    write_json(node.mixing, {name: values.tolist() for name, values in result.weights.items()})
    per_user = {
        f"{name}.{metric}": values
        for name, ranking in result.rankings.items()
        for metric, values in ranking.users.items()
    }
    write_atomic(node.per_user, save_arrays({"users": market.test.users, **per_user}))
    write_json(node.report, result.scalars)
    seal(node, recipe)
    return Payload(scalars=result.scalars)


def _rounds(instruction: Instruction) -> int | None:
    """The budget of a local baseline: how often the federation samples this market; None where it samples all."""
    return int(instruction.arrays["rounds"][0]) if "rounds" in instruction.arrays else None


def _untrained(node: MarketNode, recipe: Recipe) -> dict[str, Array]:
    """The shared parameters that the recipe begins with: the coordinator makes the same."""
    return arrays_of(make_trainer(node, recipe, "federated").model.shared_state())


def _private_trainer(node: MarketNode, recipe: Recipe) -> SequentialTrainer:
    """That of private rounds, remembered within this process; nothing in it is made of this market's users."""
    built_on = recipe_json(recipe) + received(node, "federated")
    return node.remember("private pretrainer", built_on, lambda: make_sequential_trainer(node, recipe, "federated"))


def _start(trainer: Trainer, instruction: Instruction) -> Trainer:
    """Load the shared parameters of the instruction: all of them, each of the right shape."""
    expected = trainer.model.shared()
    state: State = tensors(instruction.arrays)
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in expected.items()}:
        raise RunError("the shared parameters received do not fit this model; do both sides run the same version?")
    for name, value in expected.items():  # not by load_state_dict: it walks through all modules
        value.copy_(state[name])
    return trainer


def _once(node: MarketNode, name: str, instruction: Instruction, train: Callable[[], Finished]) -> Payload:
    """Train, store the model, report three numbers; in a run that was interrupted, what is stored need not be redone.

    The note beside a model says what it was made of, so that nothing is taken for what it is not.
    """
    whole, path, note = made_of(node, name, instruction), node.model(name), node.note(name)
    if note.is_file() and path.is_file():
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["made_of"] == whole and known["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest():
            return Payload(scalars=known["scalars"])
    finished = train()
    data = save_tensors({key: value.contiguous() for key, value in finished.state.items()})
    scalars = {"epochs": float(finished.epochs), "seconds": finished.seconds}
    if finished.validation is not None:
        scalars["validation"] = finished.validation
    write_atomic(path, data)
    write_json(note, {"made_of": whole, "sha256": hashlib.sha256(data).hexdigest(), "scalars": scalars})
    return Payload(scalars=scalars)
