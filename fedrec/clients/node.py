"""The node a client runs on: which market it holds, where its data lies, and where its private state belongs."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path
from typing import Any, TypeVar

from flwr.app import Context

from fedrec.data.catalogue import Vocabulary
from fedrec.data.draws import UserDraws
from fedrec.data.store import MarketStore, open_store, store_version
from fedrec.errors import UserError
from fedrec.exchange.payload import SCORES
from fedrec.files import market_name, run_name
from fedrec.privacy.noise import kept_secret
from fedrec.recipe import Recipe, recipe_json
from fedrec.runs.seal import SEAL
from fedrec.training.prepared import PreparedMarket

Value = TypeVar("Value")
_OLD_NAMES = {"least-markets": "min-markets", "most-epsilon": "max-epsilon"}
_MARKETS = 1000  # whose things a process holds: of tiny ones about a gigabyte
_log = getLogger("fedrec.market")


class _Memory:
    """Things made for markets of one run; another run in the same process starts with none.

    Those of the first markets stay, and of all others those of the last: to keep the last of many would find nothing
    again where all are asked in turn.
    """

    def __init__(self) -> None:
        self._run: Path | None = None
        self._things: dict[Path, dict[tuple[str, ...], Any]] = {}  # by market's folder

    def recall(self, folder: Path, run: Path, key: tuple[str, ...], make: Callable[[], Value]) -> Value:
        """The thing remembered for a market's folder in a run under ``key``, or a new one."""
        if run != self._run:
            self._things.clear()
            self._run = run
        if folder not in self._things and len(self._things) >= _MARKETS:
            self._things.popitem()
        things = self._things.setdefault(folder, {})
        if key not in things:
            things[key] = make()
        thing: Value = things[key]
        return thing


_MEMORY = _Memory()


@dataclass(frozen=True)
class MarketNode:
    """One market on this host, in one run."""

    store: MarketStore
    folder: Path  # private state; never read by anyone else
    text_model: str | None = None  # the encoder that this host's operator allows beside the packages' defaults
    identity: Path | None = None  # the market's private node key (OpenSSH), which signs for masked sums
    market_keys: Path | None = None  # folder of all markets' public node keys, NAME.pub
    min_markets: int = 2  # that must take part in a masked sum, whatever the coordinator says
    summed: Path | None = None  # file of what was summed over whom, common to several runs; None: of this run alone
    max_epsilon: float | None = None  # that all runs here may spend together; None: as each recipe says
    plugins: frozenset[str] = frozenset()  # distributions beside fedrec whose components may compute here
    part: str = ""  # of the run; empty for the run itself
    min_users: int = 1  # who must be behind anything that leaves, whatever a recipe leaves of them
    memory: Path | None = None  # of what was answered, common to all runs; None: of this run alone

    @property
    def home(self) -> Path:
        """The market's folder in the run, whatever part of it this is."""
        return self.folder.parent if self.part else self.folder

    def within(self, part: str) -> "MarketNode":
        """The same market in a part of the run, with private state of its own."""
        return replace(self, folder=self.home / part, part=part)

    @property
    def answered(self) -> Path:
        """Folder of what was told of whom, over all runs of this market here."""
        return self.memory or self.home / "answered"

    @property
    def ledger(self) -> Path:
        """Where everything that leaves is written down."""
        return self.home / "ledger.jsonl"

    @property
    def log(self) -> Path:
        """What went wrong here, in full; never leaves."""
        return self.home / "client.log"

    @property
    def semantics(self) -> Path:
        """Semantic vectors received from the server."""
        return self.folder / "semantics.safetensors"

    @property
    def gram(self) -> Path:
        """Item-item counts of all markets, received from the server."""
        return self.folder / "gram.safetensors"

    @property
    def statistics(self) -> Path:
        """Statistics of the other markets, received from the server."""
        return self.folder / "statistics.safetensors"

    @property
    def vocabulary(self) -> Path:
        """The union of all catalogues, received from the server where the protocol ranks it."""
        return self.folder / "vocabulary.json"

    @property
    def collaborative(self) -> Path:
        """Vectors of the market's own users and items."""
        return self.folder / "collaborative.safetensors"

    def codes(self, name: str) -> Path:
        """Codes of the market's own users and items."""
        return self.folder / f"codes-{name}.safetensors"

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

    @property
    def report(self) -> Path:
        """The figures of every method here: what is reported, or would be, where figures stay."""
        return self.folder / "report.json"

    @property
    def seal(self) -> Path:
        """Hashes of all that the methods are made of, written when they were evaluated."""
        return self.folder / SEAL

    @property
    def finished(self) -> bool:
        """Whether the market was evaluated: something of that is there."""
        return self.report.is_file() or self.seal.is_file()

    def model(self, name: str) -> Path:
        """A finished model, private parameters included."""
        return self.folder / f"{name}.safetensors"

    @property
    def secret(self) -> Path:
        """What all noise of this market in this run is drawn from."""
        return self.folder / "secret"

    @property
    def budget(self) -> Path:
        """What was released under noise, and what it cost."""
        return self.folder / "privacy.json"

    @property
    def recipe(self) -> Path:
        """The run's recipe, for reading the ledger and using the models on this host."""
        return self.folder / "recipe.json"

    @property
    def began_with(self) -> Path:
        """Which data this run began with here, and which recipe."""
        return self.folder / "began.json"

    def prepare(self, recipe: Recipe) -> PreparedMarket:
        """The market under the recipe, remembered within this process."""
        received = recipe.ranks_union and self.vocabulary.is_file()
        vocabulary = self.vocabulary.read_text(encoding="utf-8") if received else ""

        draws = self.draws(recipe)

        def prepare() -> PreparedMarket:
            ranked = Vocabulary(**json.loads(vocabulary)) if vocabulary else None
            return PreparedMarket(self.store, recipe, ranked, draws, hides_last=self.part == SCORES)

        return self.remember("prepared", recipe_json(recipe) + vocabulary + (draws.name if draws else ""), prepare)

    def draws(self, recipe: Recipe) -> UserDraws | None:
        """What chance says of the market's users, of its secret; None without privacy, where the seed says it.

        Behind a floor it is of the secret too: who can compute who takes part can ask with and without somebody.
        """
        secret = recipe.privacy.on or self.min_users > 1
        return UserDraws(kept_secret(self.secret)) if secret else None

    def remember(self, kind: str, made_of: str, make: Callable[[], Value]) -> Value:
        """What was made of the same things before in this process, for this run; else make it now."""
        return _MEMORY.recall(self.folder, self.home.parents[1], (kind, self.store.fingerprint, made_of), make)


def open_node(context: Context, run: str) -> MarketNode:
    """Read the node's configuration.

    ``data-path`` (a market store or a folder of them), ``market``, ``state-path``, and where the recipe's text encoder
    is not the default, ``text-model``. For masked sums: ``identity-key`` (the node's private key) and
    ``market-keys`` (a folder of all markets' public keys); a node with a key takes part in nothing but masked sums, of
    ``min-markets`` at least; what was summed over whom is remembered for all runs below ``state-path``, or in the
    file ``summed``. ``max-epsilon``: only private recipes are answered, as long as all runs below ``state-path``
    together promise no more. ``plugins``: distributions beside fedrec whose components may compute here, separated
    by commas. ``min-users``: nothing is answered that fewer users than that are behind (default 1), nor what differs by
    fewer from what was answered before; that is remembered for all runs below ``state-path``, or in the folder
    ``answered``.

    ``run`` comes from the coordinator, so it is checked before it becomes part of a path.
    """
    config = {key: str(value) for key, value in context.node_config.items()}
    missing = [key for key in ("market", "data-path", "state-path") if not config.get(key)]
    if missing:
        raise UserError(f"node config: {missing[0]!r} is missing; start the node with --node-config")
    name = market_name(config["market"], "node config")
    path = Path(config["data-path"])
    folder = Path(config["state-path"]) / run_name(run) / "markets" / name
    path = path if (path / "market.yaml").is_file() else path / name
    store = _MEMORY.recall(folder, folder.parents[1], ("store", *store_version(path)), lambda: open_store(path))
    if store.name != name:
        raise UserError(f"node config: market {name!r}, but {store.path} holds {store.name!r}")
    identity, others = (Path(config[key]) if config.get(key) else None for key in ("identity-key", "market-keys"))
    (markets, epsilon), users = _bounds(config), _count(config, "min-users", "1")
    summed = Path(config.get("summed") or Path(config["state-path"]) / f".summed-{name}.jsonl")
    plugins = frozenset(filter(None, map(str.strip, config.get("plugins", "").split(","))))
    memory = Path(config.get("answered") or Path(config["state-path"]) / f".answered-{name}")
    return MarketNode(
        store,
        folder,
        config.get("text-model"),
        identity,
        others,
        markets,
        summed,
        epsilon,
        plugins,
        min_users=users,
        memory=memory,
    )


def _bounds(config: dict[str, str]) -> tuple[int, float | None]:
    """The fewest markets of a sum and the largest epsilon; of names of today and the version before, the stricter."""
    for old, new in _OLD_NAMES.items():
        if config.get(old):
            _log.warning("node config: %s is called %s now; the old name goes with the next version", old, new)
    given = [_count(config, key, "2") for key in ("min-markets", "least-markets") if config.get(key) != ""]
    epsilons = [_epsilon(config[key]) for key in ("max-epsilon", "most-epsilon") if config.get(key)]
    return max(given, default=2), min(epsilons, default=None)


def _count(config: dict[str, str], key: str, default: str) -> int:
    value = config.get(key, default)
    if not value.isascii() or not value.isdecimal():
        raise UserError(f"node config: {key} {value!r} is no number of {key.partition('-')[2]}")
    return int(value)


def _epsilon(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"node config: max-epsilon {text!r} is no number above zero")
    return value
