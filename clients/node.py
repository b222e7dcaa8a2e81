"""The node a client runs on: which market it holds, where its data lies, and where its private state belongs."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flwr.app import Context

from fedrec.data.store import MarketStore, open_store
from fedrec.errors import UserError
from fedrec.files import market_name, run_name
from fedrec.recipe import EaseSettings, Recipe
from fedrec.training.prepared import PreparedMarket


@dataclass(frozen=True)
class MarketNode:
    """One market on this host, in one run."""

    store: MarketStore
    folder: Path  # private state and the market's own ledger; never read by anyone else

    @property
    def ledger(self) -> Path:
        """Where everything that leaves is written down."""
        return self.folder / "ledger.jsonl"

    @property
    def log(self) -> Path:
        """What went wrong here, in full; never leaves."""
        return self.folder / "client.log"

    @property
    def semantics(self) -> Path:
        """Semantic vectors received from the server."""
        return self.folder / "semantics.safetensors"

    def model(self, name: str) -> Path:
        """A finished model, private parameters included."""
        return self.folder / f"{name}.safetensors"

    def prepare(self, recipe: Recipe) -> PreparedMarket:
        """The market under the recipe's protocol, remembered within this process."""
        key = (str(self.store.path), self.store.fingerprint, recipe.evaluation.protocol)
        return _prepared(key, recipe.ease.model_dump_json())


def open_node(context: Context, run: str) -> MarketNode:
    """Read the node's configuration: ``data-path`` (a market store or a folder of them), ``market``, ``state-path``.

    ``run`` comes from the coordinator, so it is checked before it becomes part of a path.
    """
    config = {key: str(value) for key, value in context.node_config.items()}
    missing = [key for key in ("market", "data-path", "state-path") if not config.get(key)]
    if missing:
        raise UserError(f"node config: {missing[0]!r} is missing; start the node with --node-config")
    name = market_name(config["market"], "node config")
    path = Path(config["data-path"])
    store = open_store(path if (path / "market.yaml").is_file() else path / name)
    if store.name != name:
        raise UserError(f"node config: market {name!r}, but {store.path} holds {store.name!r}")
    return MarketNode(store, Path(config["state-path"]) / run_name(run) / "markets" / name)


@lru_cache(maxsize=64)
def _prepared(key: tuple[str, str, str], ease: str) -> PreparedMarket:
    path, _, protocol = key
    return PreparedMarket(open_store(Path(path)), protocol, EaseSettings.model_validate_json(ease))
