"""The coordinator's Flower ServerApp."""

import os
from contextlib import suppress
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrec.errors import RunError
from fedrec.files import run_name
from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from fedrec.runs.shared import read_shared_model
from fedrec.server.coordinator import Coordinator
from fedrec.server.hosts import HostGrid, NodeKeys, read_keys

RUNS = "FEDREC_RUNS"  # on the coordinator's host: the folder that holds the folders of runs

_DISCOVERY_SECONDS = 300.0  # for all hosts of a deployment to be there
_LOCK_SECONDS = 60.0  # that an earlier start of the run may take to notice that its SuperLink is gone

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Lead the run described by the run configuration.

    ``recipe`` (JSON), ``markets`` (separated by commas), ``dataset``. In a simulation ``run-folder``, ``engine``, and
    ``start-from``: the folder of a shared model to adapt instead of training one. In a deployment ``run``, the name of
    a folder that was prepared on this host, and ``keys``: the markets' public node keys (JSON).
    """
    config = {key: str(value) for key, value in context.run_config.items()}
    recipe = Recipe.model_validate_json(config["recipe"])
    markets = config["markets"].split(",")
    if "keys" in config:
        _lead_deployed(grid, config, recipe, markets)
        return
    run = RunFolder(Path(config["run-folder"]))
    start_from = read_shared_model(Path(config["start-from"])) if "start-from" in config else None
    Coordinator(grid, run, recipe, start_from=start_from).lead(markets, config["engine"], config["dataset"])


def _lead_deployed(grid: Grid, config: dict[str, str], recipe: Recipe, markets: list[str]) -> None:
    root = os.environ.get(RUNS)
    if not root:
        raise RunError(f"the executor of the coordinator needs {RUNS}, the folder of the runs")
    run = RunFolder.open(Path(root) / run_name(config["run"]))
    with run.locked(_LOCK_SECONDS):
        try:
            keys = NodeKeys(grid, read_keys(config["keys"]))
            coordinator = Coordinator(
                HostGrid(grid, keys, run.event), run, recipe, _DISCOVERY_SECONDS, owner_of=keys.owner_of
            )
            coordinator.lead(markets, "deploy", config["dataset"])
        except Exception as error:
            with suppress(OSError):  # a full disk has no room for that either
                run.event("error", reason=str(error))
            raise
