"""What a market does when asked, one function per action. Each returns what may leave; the rest stays on disk."""

import time
from functools import lru_cache

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save as save_tensors

from clients.messages import Instruction
from clients.node import MarketNode
from fedrec.errors import RunError
from fedrec.exchange.payload import Payload
from fedrec.files import write_atomic, write_json
from fedrec.recipe import TRAINED, Recipe, recipe_json
from fedrec.semantics.cooccurrence import CooccurrenceSemantics
from fedrec.semantics.factory import make_semantics
from fedrec.training.device import choose_device
from fedrec.training.report import evaluate_market
from fedrec.training.stages import Finished, LocalTrainer, State


def hello(node: MarketNode, instruction: Instruction) -> Payload:
    """Say which market this is and how large."""
    store = node.store
    return Payload(
        scalars={
            "users": store.users,
            "items": store.items,
            "interactions": store.count,
            "has_text": float(store.has_text),
            "has_families": float(store.families is not None),
        },
        texts={"market": store.name, "device": choose_device(instruction.recipe.training.device).type},
    )


def catalogue(node: MarketNode, instruction: Instruction) -> Payload:
    """Item keys and, for shared semantics, how many users had both items of a pair."""
    semantics = make_semantics(instruction.recipe, instruction.recipe.semantics.kind)
    if not isinstance(semantics, CooccurrenceSemantics):
        raise RunError(f"semantics {instruction.recipe.semantics.kind!r} exchanges nothing; no catalogue is sent")
    counts = semantics.statistic(node.prepare(instruction.recipe).evidence)
    return Payload(
        arrays={"first": counts.first, "second": counts.second, "count": counts.count},
        texts={"items": node.prepare(instruction.recipe).split.items},
    )


def install(node: MarketNode, instruction: Instruction) -> Payload:
    """Keep the semantic vectors [I, e] that the server made of all markets' counts."""
    vectors = instruction.arrays["semantics"]
    items = node.prepare(instruction.recipe).train.item_count
    if vectors.shape != (items, instruction.recipe.semantics.dimension) or not np.isfinite(vectors).all():
        raise RunError(f"semantic vectors of shape {vectors.shape} do not fit {items} items")
    write_atomic(node.semantics, save_arrays({"semantics": np.asarray(vectors, np.float32)}))
    return Payload()


def pretrain(node: MarketNode, instruction: Instruction) -> Payload:
    """One federated round: judge the model that came, then train it."""
    started = time.perf_counter()
    trainer = _start(_pretrainer(node, recipe_json(instruction.recipe)), instruction)
    validation = trainer.validation()
    result = trainer.pretrain_round(instruction.round)
    scalars = {
        "validation": validation,
        "loss": result.loss,
        "interactions": float(len(trainer.market.train.items)),
        "seconds": time.perf_counter() - started,
    }
    if trainer.soft is not None:
        scalars["perplexity"] = trainer.soft.perplexity
    update = {name: value.numpy() for name, value in trainer.model.shared_state().items()}
    return Payload(update, scalars, base=instruction.arrays)


def validate(node: MarketNode, instruction: Instruction) -> Payload:
    """Judge the shared model on the validation users."""
    trainer = _start(_pretrainer(node, recipe_json(instruction.recipe)), instruction)
    return Payload(scalars={"validation": trainer.validation()})


def finetune(node: MarketNode, instruction: Instruction) -> Payload:
    """Stage two, from the shared model that came. The result never leaves."""
    trainer = _start(_fresh_trainer(node, instruction.recipe), instruction)
    return _keep(node, "federated", trainer.finetune())


def train_local(node: MarketNode, instruction: Instruction) -> Payload:
    """The local-only twin: same model and budget, with only what this market knows, its own semantics included."""
    trainer = LocalTrainer.alone(instruction.recipe, node.prepare(instruction.recipe))
    return _keep(node, "local", trainer.train_alone())


def train_local_shared(node: MarketNode, instruction: Instruction) -> Payload:
    """The twin once more, on the federation's semantics: what is gained without averaging any parameter."""
    trainer = _fresh_trainer(node, instruction.recipe)
    return _keep(node, "local_shared_semantics", trainer.train_alone())


def report(node: MarketNode, instruction: Instruction) -> Payload:
    """Every method on the test users; means leave, the mixing weights stay."""
    recipe = instruction.recipe
    market = node.prepare(recipe)
    trainers = {}
    for name in sorted(TRAINED & set(recipe.evaluation.methods)):
        if not node.model(name).is_file():
            continue  # its training failed and was reported then; the other methods still count
        trainers[name] = LocalTrainer.alone(recipe, market) if name == "local" else _fresh_trainer(node, recipe)
        trainers[name].load(load_tensors(node.model(name)))
    scalars, weights = evaluate_market(recipe, market, trainers)
    write_json(node.folder / "mixing.json", {name: values.tolist() for name, values in weights.items()})
    return Payload(scalars=scalars)


def _start(trainer: LocalTrainer, instruction: Instruction) -> LocalTrainer:
    """Load the shared parameters of the instruction: all of them, each of the right shape."""
    expected = trainer.model.shared_state()
    state: State = {name: torch.from_numpy(np.array(array)) for name, array in instruction.arrays.items()}
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in expected.items()}:
        raise RunError("the shared parameters received do not fit this model; do both sides run the same version?")
    trainer.load(state)
    return trainer


@lru_cache(maxsize=64)
def _pretrainer(node: MarketNode, recipe: str) -> LocalTrainer:
    """The trainer of stage one, remembered within this process: its rounds change only what ``_start`` sets."""
    return _fresh_trainer(node, Recipe.model_validate_json(recipe))


def _fresh_trainer(node: MarketNode, recipe: Recipe) -> LocalTrainer:
    """A trainer on the federation's semantics: those the server sent, or those that need no exchange."""
    market = node.prepare(recipe)
    semantics = make_semantics(recipe, recipe.semantics.kind)
    if not semantics.exchanges:
        return LocalTrainer.alone(recipe, market)
    received = load_arrays(node.semantics)["semantics"]
    return LocalTrainer(recipe, market, semantics.finish(received, market.evidence.keys))


def _keep(node: MarketNode, name: str, finished: Finished) -> Payload:
    """Store a finished model; report three numbers."""
    state = {key: value.contiguous() for key, value in finished.state.items()}
    write_atomic(node.model(name), save_tensors(state))
    return Payload(
        scalars={
            "validation": finished.validation,
            "epochs": float(finished.epochs),
            "seconds": finished.seconds,
        }
    )
