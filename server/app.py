"""The coordinator's Flower ServerApp."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from fedrec.runs.shared import read_shared_model
from server.coordinator import Coordinator

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Lead the run described by the run configuration.

    ``recipe`` (JSON), ``run-folder``, ``markets`` (separated by commas), ``engine``, ``dataset``; ``start-from``: the
    folder of a shared model to adapt instead of training one.
    """
    config = {key: str(value) for key, value in context.run_config.items()}
    run = RunFolder(Path(config["run-folder"]))
    start_from = read_shared_model(Path(config["start-from"])) if "start-from" in config else None
    coordinator = Coordinator(grid, run, Recipe.model_validate_json(config["recipe"]), start_from=start_from)
    coordinator.lead(config["markets"].split(","), config["engine"], config["dataset"])
