"""The composition root: data folder and recipe in, run folder out. The only place where all sides meet."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.components.algorithm import algorithm_of
from fedrec.components.plugins import NOTEBOOK
from fedrec.data.catalogue import union_vocabulary
from fedrec.data.ctr import split_ctr
from fedrec.data.splits import split_market
from fedrec.data.store import MarketStore, open_stores
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.errors import RunError, UserError
from fedrec.files import read_json, run_name
from fedrec.masking.identity import write_identity
from fedrec.memory_plan import free_memory, memory_plan, too_large, why_bound
from fedrec.offline import go_offline
from fedrec.progress import OnReply, ignore
from fedrec.recipe import (
    Recipe,
    conflict,
    load_recipe,
    named_components,
    parse_recipe,
    recipe_json,
)
from fedrec.runs.folder import RunFolder
from fedrec.runs.manifest import build_manifest, refuse_changed, refuse_deployed, what_differs
from fedrec.runs.warm_start import keep_warm_start
from fedrec.semantics.factory import make_semantics
from fedrec.simulation.failures import in_full
from fedrec.training.device import choose_device

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Simulation:
    """A recipe on a data folder, checked and ready to run."""

    recipe: Recipe
    dataset: str
    stores: list[MarketStore]
    run: RunFolder
    start_from: Path | None = None  # folder of a shared model to adapt
    changed: bool = False  # whether an interrupted run goes on with a recipe that is not quite what it was

    def start(self, on_reply: OnReply = ignore, client_app: Any = "fedrec.clients.app:app") -> dict[str, Any]:
        """Run to the end and return the summary. Raises :class:`RunError` when the run fails.

        ``client_app`` stands in for the markets' own app, for studies of clients that fail or lie.
        """
        go_offline()  # before Flower and Ray are imported
        from fedrec.masking.protocol import default_threshold
        from fedrec.simulation.engines import run_engine
        from fedrec.simulation.nodes import NodeConfig, allowances
        from fedrec.simulation.pooled import train_pooled
        from fedrec.simulation.pooled_codes import make_pooled_codes

        state = str(self.run.path.resolve().parent)
        node = {"state-path": state, **allowances(self.recipe)}
        if self.recipe.masks.enabled:
            node["market-keys"] = str(self.run.keys.resolve())
            node["min-markets"] = str(default_threshold(self.recipe.masks.threshold, len(self.stores)))
        node_configs = [NodeConfig({**node, **self._node_config(store)}, store.count) for store in self.stores]
        config = {
            "recipe": recipe_json(self.recipe),
            "run-folder": str(self.run.path.resolve()),
            "markets": ",".join(store.name for store in self.stores),
            "engine": self.recipe.engine.kind,
            "dataset": self.dataset,
        }
        if self.start_from is not None:
            config["start-from"] = str(self.start_from.resolve())
        with self.run.locked():
            if self.changed:
                self.run.write_recipe(self.recipe)
                form = {"dense_items": self.recipe.ease.dense_items, "neighbours": self.recipe.ease.neighbours}
                self.run.event("form", **form)
            try:
                if "pooled" in self.recipe.evaluation.methods:
                    resolved = _resolved(self.recipe, self.stores)
                    if resolved.uses_codes:
                        make_pooled_codes(resolved, self.stores, self.run)
                    if resolved.trains:
                        train_pooled(resolved, self.stores, self.run)
                run_engine(self.recipe, self.run, node_configs, config, on_reply, client_app)
            except Exception as error:
                self.run.event("error", reason=str(error))
                words = in_full(error, self.run.markets)
                if words is not None:
                    raise RunError(words) from error
                raise
            finally:
                self.run.gather_ledgers()
        return self.run.read_summary()

    def _node_config(self, store: MarketStore) -> dict[str, str]:
        """What only this market's node is told; for masked sums it gets a key of its own."""
        private = (self.run.markets / store.name).resolve()
        config = {"market": store.name, "data-path": str(store.path.resolve())}
        config["answered"] = str(private / "answered")  # a study does not bind the next one
        if self.recipe.masks.enabled:
            write_identity(private / "identity", self.run.keys / f"{store.name}.pub")
            config["identity-key"] = str(private / "identity")
            config["summed"] = str(private / "summed.jsonl")
        return config


def prepare_simulation(
    recipe: Recipe,
    data: Path | None,
    out: Path,
    start_from: Path | None = None,
    warm_start: Path | None = None,
    synthetic: SynthSettings | None = None,
) -> Simulation:
    """Create the run folder and check everything a user can get wrong before the first round.

    Without ``data``, ``synthetic`` markets (default: five) are made inside the run folder. ``start_from`` is the folder
    of a shared model that the markets adapt, ``warm_start`` the run whose shared model the rounds begin with. When a
    check fails, no new folder is left.
    """
    run_name(out.resolve().name)
    _refuse_of_this_process(recipe)
    existed = out.exists()
    run = RunFolder.create(out, recipe)
    try:
        if data is None:
            write_synthetic_markets(run.data, synthetic or SynthSettings(seed=recipe.seed))
        folder = data or run.data
        stores = open_stores(folder, recipe.data.markets)
        device = choose_device(recipe.training.device).type
        make_semantics(recipe.semantics, recipe.seed).require()
        algorithm_of(recipe).require()
        _check_splits(recipe, stores)
        _check_memory(recipe, stores)
        if warm_start is not None:
            keep_warm_start(run, warm_start, recipe)
        hashes = {store.name: store.fingerprint for store in stores}
        run.write_manifest(
            build_manifest(
                recipe,
                folder.resolve(),
                hashes,
                device,
                start_from and start_from.resolve(),
                warm_start and warm_start.resolve(),
            )
        )
    except BaseException:
        shutil.rmtree(out)
        if existed:
            out.mkdir()
        raise
    return Simulation(recipe, SYNTHETIC if data is None else data.resolve().name, stores, run, start_from)


def resume_simulation(path: Path, overrides: Sequence[str] = ()) -> Simulation:
    """Take up a run that was interrupted. Refuses one that is finished, and one whose makings have changed.

    ``overrides`` may change what a model's form in memory depends on (:data:`fedrec.memory_plan.FORMS`): what is
    trained is kept.
    """
    run = RunFolder.open(path)
    if run.summary.is_file():
        run.gather_ledgers()  # in case it was stopped between the summary and this
        raise UserError(f"{path}: finished already; its figures: `fedrec report {path}`")
    manifest = run.read_manifest()
    recipe = load_recipe(str(path / "recipe.yaml"), list(overrides))
    folder = Path(manifest["data"]["folder"])
    if folder.name == run.data.name and run.data.is_dir():
        folder = run.data  # a run folder may have been moved, its own synthetic markets with it
    stores = open_stores(folder, sorted(manifest["data"]["hashes"]))
    began = _resolved(parse_recipe(manifest["recipe"], str(path / "manifest.json")), stores)
    hashes = {store.name: store.fingerprint for store in stores}
    difference = what_differs(manifest, recipe, began, hashes, choose_device(recipe.training.device).type)
    if difference:
        raise UserError(f"{path}: cannot go on: {difference}; put it back, or start a new run")
    start_from = manifest["start_from"] and Path(manifest["start_from"])
    why = why_bound(recipe)
    if overrides and why is not None:
        raise UserError(f"{path}: goes on as it is, without --set: {why}")
    name = SYNTHETIC if folder == run.data else folder.name
    return Simulation(recipe, name, stores, run, start_from, changed=bool(overrides))


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over, and the data it was made of."""

    run: RunFolder
    recipe: Recipe
    stores: list[MarketStore]
    summary: dict[str, Any]


def open_finished(path: Path) -> FinishedRun:
    """Raises :class:`UserError` for a run that is not finished, and where the data are not what it was trained on."""
    run = RunFolder.open(path)
    summary = run.read_summary()
    manifest = run.read_manifest()
    refuse_deployed(manifest, path)
    hashes = manifest["data"]["hashes"]
    folder = run.data if run.data.is_dir() else Path(manifest["data"]["folder"])
    stores = open_stores(folder, sorted(hashes))
    for store in stores:
        if store.fingerprint != hashes[store.name]:
            raise UserError(f"{store.path}: not the data that {path} was trained on; import it again or run again")
    recipe = load_recipe(str(path / "recipe.yaml"))
    for store in stores:
        evaluated = run.markets / store.name / "recipe.json"
        if evaluated.is_file():
            refuse_changed(path / "recipe.yaml", recipe, parse_recipe(read_json(evaluated), str(evaluated)))
    return FinishedRun(run, recipe, stores, summary)


def _resolved(recipe: Recipe, stores: list[MarketStore]) -> Recipe:
    resolved = recipe.resolved(
        all(store.families is not None for store in stores), all(store.has_text for store in stores)
    )
    found = conflict(resolved)
    if found is not None:
        raise UserError(f"{stores[0].path.parent}: on these markets, {found}")
    return resolved


def _refuse_of_this_process(recipe: Recipe) -> None:
    """What a notebook has registered is not known to the processes of other engines."""
    own = [one for one in named_components(recipe) if one.origin == NOTEBOOK]
    if own and (recipe.engine.kind != "inline" or recipe.engine.workers):
        raise UserError(
            f"{own[0].noun} {own[0].name!r} is known to this process alone: take engine.kind=inline with "
            "engine.workers=0, or put it into a package of its own"
        )


def _check_memory(recipe: Recipe, stores: list[MarketStore]) -> None:
    """All markets are on this machine, and stay in its memory; a cluster's hosts are asked one by one, by a market."""
    if recipe.engine.kind == "ray" and recipe.ray.address is not None:
        return
    resolved = _resolved(recipe, stores)
    union = sum(store.items for store in stores)  # at most
    plans = {store.name: memory_plan(resolved, store.users, store.items, store.count, union) for store in stores}
    at_once = recipe.engine.workers or (os.cpu_count() or 1 if recipe.engine.kind == "ray" else 1)
    reason = too_large(plans, free_memory(), at_once)
    if reason is not None:
        raise UserError(f"{stores[0].path.parent}: {reason}")


def _check_splits(recipe: Recipe, stores: list[MarketStore]) -> None:
    """Split every market once, so that what is wrong is said at the start."""
    resolved = _resolved(recipe, stores)
    evaluation = resolved.splitting
    vocabulary = union_vocabulary(stores, evaluation, recipe.seed) if resolved.ranks_union else None
    for store in stores:
        if recipe.task == "ctr":
            split_ctr(store, evaluation, recipe.ctr, recipe.data.user_share)
        else:
            split_market(store, evaluation, recipe.seed, vocabulary, recipe.data.user_share)
