"""The coordinator's Flower ServerApp."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from server.coordinator import Coordinator

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Lead the run described by the run configuration: ``recipe`` (JSON), ``run-folder``, ``markets``, …"""
    config = {key: str(value) for key, value in context.run_config.items()}
    run = RunFolder(Path(config["run-folder"]))
    coordinator = Coordinator(grid, run, Recipe.model_validate_json(config["recipe"]))
    coordinator.lead(config["markets"].split(","), config["engine"], config["dataset"])
