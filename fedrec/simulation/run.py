"""The composition root: data folder and recipe in, run folder out. The only place where all sides meet."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.data.splits import split_market
from fedrec.data.store import MarketStore, open_stores
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.files import run_name
from fedrec.recipe import Recipe, recipe_json, resolve_protocol
from fedrec.runs.folder import RunFolder
from fedrec.runs.manifest import build_manifest
from fedrec.simulation.environment import go_offline
from fedrec.training.device import choose_device

OnReply = Callable[[str, str], None]


@dataclass(frozen=True)
class Simulation:
    """A recipe on a data folder, checked and ready to run."""

    recipe: Recipe
    dataset: str
    stores: list[MarketStore]
    run: RunFolder

    def start(self, on_reply: OnReply = lambda _market, _action: None, client_app: Any = None) -> dict[str, Any]:
        """Run to the end and return the summary. Raises :class:`RunError` when the run fails.

        ``client_app`` stands in for the markets' own app, for studies of clients that fail or lie.
        """
        go_offline()
        from flwr.app import Context, RecordDict, UserConfig

        from clients.app import app as honest_app
        from fedrec.simulation.inline import InlineGrid
        from server.app import app as server_app

        nodes = [
            {
                "market": store.name,
                "data-path": str(store.path.resolve()),
                "state-path": str(self.run.path.resolve().parent),
            }
            for store in self.stores
        ]
        config: UserConfig = {
            "recipe": recipe_json(self.recipe),
            "run-folder": str(self.run.path.resolve()),
            "markets": ",".join(store.name for store in self.stores),
            "engine": self.recipe.engine.kind,
            "dataset": self.dataset,
        }
        context = Context(1, 0, {}, RecordDict(), config)
        try:
            server_app(InlineGrid(client_app or honest_app, nodes, on_reply), context)
        except Exception as error:
            self.run.event("error", reason=str(error))
            raise
        finally:
            self.run.gather_ledgers()
        return self.run.read_summary()


def prepare_simulation(recipe: Recipe, data: Path | None, out: Path) -> Simulation:
    """Create the run folder and check everything a user can get wrong before the first round.

    Without ``data``, synthetic markets are made inside the run folder. When a check fails, no new folder is left.
    """
    run_name(out.resolve().name)
    existed = out.exists()
    run = RunFolder.create(out, recipe)
    try:
        if data is None:
            write_synthetic_markets(run.data, SynthSettings(seed=recipe.seed))
        stores = open_stores(data or run.data, recipe.data.markets)
        choose_device(recipe.training.device)
        with_families = all(store.families is not None for store in stores)
        protocol = resolve_protocol(recipe.evaluation.protocol, with_families)
        for store in stores:
            split_market(store, protocol)
        run.write_manifest(build_manifest(recipe, {store.name: store.fingerprint for store in stores}))
    except BaseException:
        shutil.rmtree(out)
        if existed:
            out.mkdir()
        raise
    return Simulation(recipe, "synthetic" if data is None else data.resolve().name, stores, run)
