"""What a market must remember of its own rounds, kept on its own disk, round by round.

One file a round, so that a run resumed from an earlier round finds what it had then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from fedrec.exchange.payload import Array
from fedrec.files import write_atomic

_KEPT = 4  # a resumed run goes back two rounds at most


@dataclass(frozen=True)
class FileMemory:
    """Arrays of one kind below one folder: what compression left out of an update, private parameters of a round."""

    folder: Path
    kind: str = "remainder"
    kept: int = _KEPT  # rounds

    def load(self, server_round: int) -> Mapping[str, Array]:
        """What the latest round before this one left; empty if none did."""
        before = [path for path in self._files() if path < self._path(server_round)]
        return load_arrays(before[-1].read_bytes()) if before else {}

    def save(self, server_round: int, arrays: Mapping[str, Array]) -> None:
        """Write this round's, forget old ones and those of rounds that are done again."""
        data = save_arrays({name: np.asarray(array, order="C") for name, array in arrays.items()})
        write_atomic(self._path(server_round), data)
        files = self._files()
        current = files.index(self._path(server_round))
        for path in [*files[: max(0, current + 1 - self.kept)], *files[current + 1 :]]:
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.kind}-*.safetensors"))

    def _path(self, server_round: int) -> Path:
        return self.folder / f"{self.kind}-{server_round:06d}.safetensors"


def tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Arrays for a model to load; copies, so that it may change them."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def arrays_of(state: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """A model's parameters, on the CPU, as arrays."""
    return {name: value.numpy() for name, value in state.items()}
