"""``pooled``: the same model trained on all markets' histories in one place, as no federation may.

Possible only where one machine holds all data. Every round passes over the histories of the markets that the federation
samples in it, batches of all shuffled together under one optimiser; each market keeps its own softmax, so this is a
reference, not a bound. Then every market fine-tunes as it does after a federation, and the model lies where its report
finds it.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from safetensors.torch import save as save_tensors
from torch import nn

from fedrec.clients.methods import item_codes
from fedrec.clients.node import MarketNode
from fedrec.components.algorithm import Need, algorithm_of
from fedrec.data.catalogue import union_vocabulary
from fedrec.data.store import MarketStore
from fedrec.exchange.pairs import count_pairs, sum_pairs
from fedrec.files import write_atomic
from fedrec.models.adaptor import ItemCodes
from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from fedrec.seeds import numpy_generator, seeded_torch
from fedrec.semantics.base import ItemVectors
from fedrec.semantics.counted import CountedSemantics
from fedrec.semantics.factory import make_semantics, vectors_alone
from fedrec.server.catalogues import Union
from fedrec.stopping import EarlyStopping, over_markets
from fedrec.strategies.sampling import sample_markets
from fedrec.threads import single_threaded
from fedrec.training.known import Known
from fedrec.training.loop import make_optimiser, train_epoch
from fedrec.training.prepared import PreparedMarket
from fedrec.training.stages import LocalTrainer, State


def train_pooled(recipe: Recipe, stores: Sequence[MarketStore], run: RunFolder) -> None:
    """Train the pooled model and leave each market's finished copy in its folder. ``recipe`` must be resolved.

    In a run that was interrupted, nothing is done again when all copies are there.
    """
    targets = {store.name: MarketNode(store, run.markets / store.name).model("pooled") for store in stores}
    if all(path.is_file() for path in targets.values()):
        return
    started = time.perf_counter()
    run.event("stage", action="pooled", markets=sorted(targets))
    with single_threaded():
        markets = _prepare(recipe, stores)
        make = _maker(recipe, stores, markets, run)
        trainers = make()
        for best, trainer in zip(_pretrain(recipe, trainers, run), make(), strict=True):
            trainer.load(best)
            state = {name: value.contiguous() for name, value in trainer.finetune().state.items()}
            write_atomic(targets[trainer.name], save_tensors(state))
    run.event("stage_done", action="pooled", results={}, seconds=time.perf_counter() - started)


def pooled_semantics(recipe: Recipe, markets: Sequence[PreparedMarket]) -> list[ItemVectors]:
    """The item vectors that the federation's exchange gives each market, made here without one."""
    semantics = make_semantics(recipe.semantics, recipe.seed)
    if not isinstance(semantics, CountedSemantics):
        return [vectors_alone(semantics, market.evidence, recipe.privacy.on) for market in markets]
    union = Union.of({market.store.name: market.evidence.keys for market in markets})
    counts = [
        count_pairs(market.evidence.histories, semantics.min_count).placed(
            union.index[market.store.name], len(union.items)
        )
        for market in markets
    ]
    vectors = semantics.vectors(sum_pairs(counts, len(union.items)))
    return [semantics.finish(vectors[union.index[market.store.name]], market.evidence.keys) for market in markets]


def _maker(
    recipe: Recipe, stores: Sequence[MarketStore], markets: Sequence[PreparedMarket], run: RunFolder
) -> Callable[[], list[LocalTrainer[Any]]]:
    """Makes an untrained model for every market."""
    vocabulary: Sequence[str] = []
    vectors: Sequence[ItemVectors | None] = [None] * len(markets)
    codes: Sequence[ItemCodes | None] = [None] * len(markets)
    if Need.VOCABULARY in recipe.needs:
        vocabulary = union_vocabulary(stores, recipe.splitting, recipe.seed).items
    if Need.ITEM_VECTORS in recipe.needs:
        vectors = pooled_semantics(recipe, markets)
    if Need.CODES in recipe.needs:
        nodes = [MarketNode(store, run.markets / store.name) for store in stores]
        codes = [item_codes(node, recipe, "pooled") for node in nodes]
    trainer: type[LocalTrainer[Any]] = algorithm_of(recipe).trainer()
    known = [Known(vocabulary, *parts) for parts in zip(vectors, codes, strict=True)]
    return lambda: [trainer.of(recipe, market, one) for market, one in zip(markets, known, strict=True)]


def _prepare(recipe: Recipe, stores: Sequence[MarketStore]) -> list[PreparedMarket]:
    vocabulary = union_vocabulary(stores, recipe.splitting, recipe.seed) if recipe.ranks_union else None
    return [PreparedMarket(store, recipe, vocabulary) for store in stores]


def _pretrain(recipe: Recipe, trainers: Sequence[LocalTrainer[Any]], run: RunFolder) -> list[State]:
    """Stage one over all markets; for each what validated best, the untrained included."""
    first = trainers[0].model
    for trainer in trainers[1:]:
        trainer.model.join(first)  # what a federation would share is one for all
    for trainer in trainers:
        trainer.freeze(private=True, shared=False)
    everything = nn.ModuleList(trainer.model for trainer in trainers)
    optimiser = make_optimiser(everything, recipe.training, recipe.training.learning_rate)
    watch = EarlyStopping[list[State]](recipe.federation.patience)

    def now() -> list[State]:
        return [first.shared_state() | trainer.carried_state() for trainer in trainers]

    def offer() -> bool:
        validation = over_markets(trainer.validation() for trainer in trainers)
        run.event("pooled", offered=watch.offered, total=recipe.federation.rounds, validation=validation)
        return watch.offer(validation, now())

    for number in range(1, recipe.federation.rounds + 1):
        if offer():
            break
        sampled = sample_markets(
            [trainer.name for trainer in trainers], recipe.federation.participation, recipe.seed, number
        )
        with seeded_torch(recipe.seed, "pooled", number):
            for epoch in range(recipe.training.epochs):
                batches = [
                    (trainer, batch)
                    for trainer in trainers
                    if trainer.name in sampled
                    for batch in trainer.batches(numpy_generator(recipe.seed, trainer.name, "pooled", number, epoch))
                ]
                for index in numpy_generator(recipe.seed, "pooled", number, epoch).permutation(len(batches)):
                    trainer, batch = batches[index]
                    train_epoch(trainer.model, [batch], optimiser, partial(trainer.loss, soft_targets=True))
    else:
        offer()
    return watch.best or now()
