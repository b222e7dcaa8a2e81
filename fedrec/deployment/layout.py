"""Where things lie in a deployment's folder: one part for the authority, one for the coordinator, one a market.

Each part is what one host needs and nothing else, so a part is carried to its host as it is.
"""

from dataclasses import dataclass
from pathlib import Path

SUPERLINK_PORT = 9092
NODE_PORT = 9094  # of a SuperNode, towards its executor
METRICS_PORT = 9095  # where an executor's numbers are served


@dataclass(frozen=True)
class Part:
    """What every host has, whichever side it is on."""

    path: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate."""
        return self.path / "ca.crt"

    @property
    def certificate(self) -> Path:
        """Of the server on this host: the SuperLink, or the SuperNode towards its executor."""
        return self.path / "server.crt"

    @property
    def key(self) -> Path:
        """The private key of that certificate."""
        return self.path / "server.key"

    @property
    def secret(self) -> Path:
        """What the executor shows to the server on this host."""
        return self.path / "executor.secret"

    @property
    def approved(self) -> Path:
        """Hashes of the bundles that may run here; in a folder of its own, which containers see change."""
        return self.path / "consent" / "approved.txt"

    @property
    def keys(self) -> Path:
        """Public node keys of all markets, ``NAME.pub``."""
        return self.path / "keys"

    @property
    def environment(self) -> Path:
        """What this host's compose file is filled in with."""
        return self.path / ".env"

    @property
    def compose(self) -> Path:
        """The compose file of this host alone."""
        return self.path / "compose.yaml"

    @property
    def secrets(self) -> list[Path]:
        """Files that only their owner may read."""
        return [self.key, self.secret]


@dataclass(frozen=True)
class CoordinatorPart(Part):
    """The coordinator's host."""

    @property
    def connection(self) -> Path:
        """What ``--connection`` reads."""
        return self.path / "connection.yaml"

    @property
    def runs(self) -> Path:
        """The folders of runs."""
        return self.path / "runs"


@dataclass(frozen=True)
class MarketPart(Part):
    """One market's host."""

    @property
    def name(self) -> str:
        """The market."""
        return self.path.resolve().name

    @property
    def gpu_compose(self) -> Path:
        """What is read beside the compose file where the host has a card."""
        return self.path / "compose.gpu.yaml"

    @property
    def identity(self) -> Path:
        """The private node key (OpenSSH)."""
        return self.path / "node.key"

    @property
    def data(self) -> Path:
        """The market store, read-only for everything here."""
        return self.path / "data"

    @property
    def state(self) -> Path:
        """The market's private state, run by run."""
        return self.path / "state"

    @property
    def secrets(self) -> list[Path]:
        """Files that only their owner may read."""
        return [*super().secrets, self.identity]


@dataclass(frozen=True)
class DeploymentFolder:
    """The whole deployment, as it was made; afterwards each part lives on its own host."""

    path: Path

    @property
    def authority_key(self) -> Path:
        """The authority's private key: signs new certificates; kept off every host."""
        return self.path / "authority" / "ca.key"

    @property
    def authority(self) -> Path:
        """The authority's certificate."""
        return self.path / "authority" / "ca.crt"

    @property
    def settings(self) -> Path:
        """What it was made with: ``host``, ``masks``."""
        return self.path / "authority" / "settings.json"

    @property
    def compose(self) -> Path:
        """The compose file of all parts on one machine."""
        return self.path / "compose.yaml"

    @property
    def environment(self) -> Path:
        """What that compose file is filled in with."""
        return self.path / ".env"

    @property
    def coordinator(self) -> CoordinatorPart:
        """The coordinator's part."""
        return CoordinatorPart(self.path / "coordinator")

    def market(self, name: str) -> MarketPart:
        """One market's part."""
        return MarketPart(self.markets_folder / name)

    @property
    def markets_folder(self) -> Path:
        """Where the markets' parts lie."""
        return self.path / "markets"

    @property
    def markets(self) -> list[MarketPart]:
        """All markets' parts that are here."""
        return [MarketPart(path) for path in sorted(self.markets_folder.glob("*")) if path.is_dir()]
