"""What a market does for codes: its own vectors, rounds on the common codebook, its own levels, predictors on them."""

import time

import numpy as np
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors

from fedrec.arrays import load_whole, read_arrays
from fedrec.clients.instruction import Instruction, refuse_unvalidated
from fedrec.clients.masks import follow_sum
from fedrec.clients.memory import FileMemory, arrays_of, tensors
from fedrec.clients.methods import codes_of
from fedrec.clients.node import MarketNode
from fedrec.clients.privacy import derived
from fedrec.errors import RunError
from fedrec.exchange.codebook import LEVEL, statistics_arrays
from fedrec.exchange.declaration import CODEBOOK
from fedrec.exchange.payload import Array, Payload
from fedrec.files import write_atomic, write_json
from fedrec.metrics.ctr import Predictions
from fedrec.models.quantiser import usage
from fedrec.models.rqvae import LAYERED, first_codebooks
from fedrec.recipe import Recipe, recipe_json
from fedrec.seeds import numpy_generator
from fedrec.semantics.base import ItemVectors
from fedrec.semantics.factory import make_semantics, vectors_alone
from fedrec.training.codes import CodeInputs, CodeTrainer, MarketCodes, train_codes_alone
from fedrec.training.collaborative import CollaborativeVectors, factorise, sequential_vectors
from fedrec.training.ctr import CtrTrainer, evaluate_ctr
from fedrec.training.device import choose_device
from fedrec.training.sequential import SequentialTrainer


def collaborative(node: MarketNode, instruction: Instruction) -> Payload:
    """Train the market's own vectors of users and items. They never leave."""
    started = time.perf_counter()
    recipe, market = instruction.recipe, node.prepare(instruction.recipe)
    settings, device = recipe.collaborative, choose_device(recipe.training.device)
    if settings.source == "sequential":
        vectors, loss = sequential_vectors(SequentialTrainer.alone(recipe, market), settings.epochs)
    else:
        vectors, loss = factorise(market.train, settings, recipe.seed, node.store.name, device)
    write_atomic(node.collaborative, save_arrays(vectors.arrays()))
    return Payload(scalars={"loss": loss, "seconds": time.perf_counter() - started})


def codebook(node: MarketNode, instruction: Instruction) -> Payload:
    """One round: counts and sums under the encoder that came, then train it with the codebook that came frozen."""
    started = time.perf_counter()
    recipe, number = instruction.recipe, instruction.round
    if recipe.masks.enabled:
        follow_sum(node, instruction, CODEBOOK, lambda: _untrained(node, recipe))
    trainer = _start(_trainer(node, recipe), instruction)
    private = FileMemory(node.folder, "private")
    trainer.load_private(private.load(number))
    statistics = [level.suppressed(recipe.codes.min_count) for level in trainer.statistics()]
    scalars = {"validation": trainer.explained(), "weight": float(len(trainer.inputs.known))}
    scalars["loss"] = trainer.train_round(number) if number > recipe.codes.refine else 0.0
    private.save(number, trainer.private())
    update = {name: value.numpy() for name, value in trainer.model.shared_state().items()}
    payload = Payload(
        update,
        {**scalars, "seconds": time.perf_counter() - started},
        base={name: instruction.arrays[name] for name in update},
        statistics={name: np.asarray(array) for name, array in statistics_arrays(statistics).items()},
    )
    return derived(payload) if recipe.privacy.on and recipe.alignment in LAYERED else payload


def validate_codebook(node: MarketNode, instruction: Instruction) -> Payload:
    """How much of the market's items the common codes explain."""
    refuse_unvalidated(instruction.recipe)
    trainer = _start(_trainer(node, instruction.recipe), instruction)
    trainer.load_private(FileMemory(node.folder, "private").load(instruction.recipe.codes.rounds + 1))
    return Payload(scalars={"validation": trainer.explained()})


def codes(node: MarketNode, instruction: Instruction) -> Payload:
    """The market's codes: on the federation's codebook, and beside them on one that it makes alone."""
    started = time.perf_counter()
    recipe = instruction.recipe
    scalars: dict[str, float] = {}
    if "federated" in recipe.evaluation.methods:
        trainer = _start(_trainer(node, recipe), instruction)
        trainer.load_private(FileMemory(node.folder, "private").load(recipe.codes.rounds + 1))
        scalars |= _finished(node, recipe, "federated", trainer, trainer.finish())
    if "local" in recipe.evaluation.methods:
        trainer = make_code_trainer(node, recipe, alone=True)
        scalars |= _finished(node, recipe, "local", trainer, train_codes_alone(trainer))
    return Payload(scalars={**scalars, "seconds": time.perf_counter() - started})


def train_predictors(node: MarketNode, instruction: Instruction) -> Payload:
    """A click-through model on every method's codes. They stay in the market."""
    started = time.perf_counter()
    scalars: dict[str, float] = {}
    for method in instruction.recipe.evaluation.methods:
        trainer = _predictor(node, instruction.recipe, method)
        watch = trainer.train()
        write_atomic(node.model(f"ctr-{method}"), save_tensors(trainer.state()))
        scalars |= {f"{method}.epochs": float(watch.best_index + 1), f"{method}.validation": -watch.score}
    return Payload(scalars={**scalars, "seconds": time.perf_counter() - started})


def report_ctr(node: MarketNode, instruction: Instruction) -> Payload:
    """Every method on the test instances; means leave, predictions stay."""
    recipe = instruction.recipe
    predictions: dict[str, Predictions] = {}
    for method in recipe.evaluation.methods:
        trainer = _predictor(node, recipe, method)
        load_whole(trainer.model, node.model(f"ctr-{method}"))
        predictions[method] = trainer.predict(trainer.split.test)
    generator = numpy_generator(recipe.seed, node.store.name, "bootstrap")
    scalars = evaluate_ctr(predictions, recipe.ctr.task, recipe.evaluation.resamples, generator)
    scalars["outside"] = node.prepare(recipe).ctr.outside
    kept = {f"{method}.predicted": found.in_order(found.predicted) for method, found in predictions.items()}
    test = node.prepare(recipe).ctr.test
    write_atomic(node.per_user, save_arrays({"users": test.users, "labels": test.labels, **kept}))
    write_json(node.report, scalars)
    return Payload(scalars=scalars)


def make_code_trainer(node: MarketNode, recipe: Recipe, alone: bool) -> CodeTrainer:
    """The market's autoencoder, on what the federation knows of its items or on what it knows ``alone``."""
    market = node.prepare(recipe)
    vectors = CollaborativeVectors.read(read_arrays(node.collaborative))
    interactions = market.train.item_counts()
    inputs = CodeInputs.of_items(_semantics(node, recipe, alone), vectors, recipe.alignment, interactions)
    device = choose_device(recipe.training.device)
    return CodeTrainer(recipe.codes, recipe.alignment, inputs, recipe.seed, market.store.name, device)


def _semantics(node: MarketNode, recipe: Recipe, alone: bool) -> ItemVectors:
    evidence = node.prepare(recipe).evidence
    semantics = make_semantics(recipe.semantics, recipe.seed)
    if recipe.alignment == "none":  # looks at nothing but the market's own vectors
        return semantics.finish(np.zeros((len(evidence.keys), semantics.dimension)), evidence.keys)
    if alone or not semantics.exchanges:
        return vectors_alone(semantics, evidence, recipe.privacy.on)
    return semantics.finish(read_arrays(node.semantics)["semantics"], evidence.keys)


def _trainer(node: MarketNode, recipe: Recipe) -> CodeTrainer:
    """The federation's, remembered within this process: rounds change only what ``_start`` and the memory set."""
    return node.remember("codes", recipe_json(recipe), lambda: make_code_trainer(node, recipe, alone=False))


def _untrained(node: MarketNode, recipe: Recipe) -> dict[str, Array]:
    """What the first round begins with, as far as it depends on the recipe alone: under ``gram`` without codebooks."""
    model = make_code_trainer(node, recipe, alone=False).model
    codebooks = [] if recipe.alignment == "gram" else first_codebooks(model, None, recipe.seed)
    levels: dict[str, Array] = {f"{LEVEL}{level}": codebook for level, codebook in enumerate(codebooks)}
    return arrays_of(model.shared_state()) | levels


def _start(trainer: CodeTrainer, instruction: Instruction) -> CodeTrainer:
    """Take the shared arrays of the instruction: all of them, each of the right shape."""
    state = tensors({name: array for name, array in instruction.arrays.items() if not name.startswith(LEVEL)})
    levels = {name: array for name, array in instruction.arrays.items() if name.startswith(LEVEL)}
    expected = {name: value.shape for name, value in trainer.model.shared().items()}
    sizes, width = trainer.settings.global_levels, trainer.settings.dimension
    shapes = {f"{LEVEL}{level}": (size, width) for level, size in enumerate(sizes)}
    found = {name: value.shape for name, value in state.items()}
    if found != expected or {name: array.shape for name, array in levels.items()} != shapes:
        raise RunError("the encoder or codebook received does not fit; do both sides run the same version?")
    trainer.model.load_state_dict(state, strict=False)
    trainer.install([np.asarray(levels[name], np.float32) for name in shapes])
    return trainer


def _finished(node: MarketNode, recipe: Recipe, name: str, trainer: CodeTrainer, explained: float) -> dict[str, float]:
    """Write the codes; say how well they are used."""
    vectors = CollaborativeVectors.read(read_arrays(node.collaborative))
    users = CodeInputs.of_users(trainer.inputs, vectors, node.prepare(recipe).train.matrix())
    found = MarketCodes(trainer.codes(users), trainer.codes(trainer.inputs))
    write_atomic(node.codes(name), save_arrays(found.arrays()))
    scalars = {f"{name}.explained": explained}
    for level, size in enumerate(found.items.sizes):
        used = usage(np.bincount(found.items.codes[:, level], minlength=size)[:size])
        scalars |= {f"{name}.perplexity.{level}": used.perplexity, f"{name}.dead.{level}": float(used.dead)}
    return scalars


def _predictor(node: MarketNode, recipe: Recipe, method: str) -> CtrTrainer:
    split = node.prepare(recipe).ctr
    found = codes_of(node, recipe, method, len(split.users), len(split.items))
    device = choose_device(recipe.training.device)
    return CtrTrainer(split, found, recipe.ctr, recipe.seed, node.store.name, device)
