"""The node a client runs on: which market it holds, where its data lies, and where its private state belongs."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flwr.app import Context

from fedrec.data.store import MarketStore, open_store
from fedrec.errors import UserError
from fedrec.files import market_name, run_name
from fedrec.recipe import Recipe
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

    @property
    def gram(self) -> Path:
        """Item-item counts of all markets, received from the server."""
        return self.folder / "gram.safetensors"

    @property
    def vocabulary(self) -> Path:
        """The union of all catalogues, received from the server where the protocol ranks it."""
        return self.folder / "vocabulary.json"

    def note(self, name: str) -> Path:
        """What a finished model was made of, and the figures that were reported of it."""
        return self.folder / f"{name}.json"

    @property
    def mixing(self) -> Path:
        """Learned mixing weights."""
        return self.folder / "mixing.json"

    @property
    def per_user(self) -> Path:
        """Every metric of every method per test user: for intervals over several runs, on this host only."""
        return self.folder / "per_user.safetensors"

    def model(self, name: str) -> Path:
        """A finished model, private parameters included."""
        return self.folder / f"{name}.safetensors"

    def prepare(self, recipe: Recipe) -> PreparedMarket:
        """The market under the recipe, remembered within this process."""
        received = recipe.evaluation.protocol == "acmr" and self.vocabulary.is_file()
        vocabulary = self.vocabulary.read_text(encoding="utf-8") if received else ""
        return _prepared(str(self.store.path), self.store.fingerprint, recipe.model_dump_json(), vocabulary)


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
def _prepared(path: str, fingerprint: str, recipe: str, vocabulary: str) -> PreparedMarket:
    store = open_store(Path(path))
    if store.fingerprint != fingerprint:
        raise UserError(f"{path}: the data changed while it was read; start again")
    return PreparedMarket(store, Recipe.model_validate_json(recipe), json.loads(vocabulary) if vocabulary else None)
