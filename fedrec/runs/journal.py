"""What the coordinator has finished, so that a run that was interrupted goes on where it stood."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Journal:
    """Results of finished steps (JSON values), and the sums that go with them. Written whole after every step."""

    steps: dict[str, Any] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)
    bytes_up: int = 0  # outside the rounds
    bytes_down: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)  # which round's model was taken, and by whom
    summed: list[str] | None = None  # over whom the last masked sum was opened

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Journal":
        """As it was written."""
        return cls(**{entry.name: value[entry.name] for entry in fields(cls) if entry.name in value})
