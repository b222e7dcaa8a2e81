"""One pair of apps, several ways to run it on this machine: the recipe's ``engine`` says which."""

from collections.abc import Mapping, Sequence
from typing import Any

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid

from fedrec.progress import OnReply
from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from fedrec.server.app import app as server_app
from fedrec.simulation.faults import FaultyGrid
from fedrec.simulation.inline import InlineGrid
from fedrec.simulation.nodes import HONEST_APP, RUN_ID, NodeConfig, load_app
from fedrec.simulation.workers import WorkerGrid


def run_engine(
    recipe: Recipe,
    run: RunFolder,
    node_configs: Sequence[NodeConfig],
    config: Mapping[str, str],
    on_reply: OnReply,
    client_app: Any = HONEST_APP,
) -> None:
    """Lead a whole run over these nodes with the coordinator's ``config``.

    ``client_app`` stands in for the markets' own app: ``module:attribute``, or (but not with workers) the app itself.
    """

    def lead(grid: Grid, config: Mapping[str, str]) -> None:
        faults = recipe.federation.faults
        if faults.dropout or faults.late:
            grid = FaultyGrid(grid, faults, recipe.seed, run.path / "late")
        server_app(grid, Context(RUN_ID, 0, {}, RecordDict(), dict(config)))

    if recipe.engine.kind == "ray":
        from fedrec.simulation.ray_engine import RayGrid

        with RayGrid(node_configs, recipe.ray, on_reply, client_app) as actors:
            lead(actors, config)
    elif recipe.engine.workers:
        with WorkerGrid(node_configs, recipe.engine.workers, on_reply, client_app) as workers:
            lead(workers, config)
    else:
        app = load_app(client_app) if isinstance(client_app, str) else client_app
        lead(InlineGrid(app, node_configs, on_reply), config)
