"""The forms of a run's JSON files: what readers rely on is checked when a file is read, whoever wrote it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.types import FiniteFloat

from fedrec.errors import UserError
from fedrec.words import cleaned

_FIGURES = TypeAdapter(dict[str, dict[str, FiniteFloat]])  # by market and name


class _Form(BaseModel):
    """Says what must be there, of which type; whatever else is there stays."""

    model_config = ConfigDict(extra="allow", strict=True)


class Interval(_Form):
    """A difference with its bounds."""

    mean: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class Market(_Form):
    """One market's sizes and figures."""

    users: int
    items: int
    interactions: int | None
    min_users: int = 1
    evaluated_users: int
    catalogue: int | None
    outside: FiniteFloat | None
    results: dict[str, dict[str, FiniteFloat]]
    gain: dict[str, Interval]
    differences: dict[str, dict[str, dict[str, Interval]]]
    chosen: dict[str, FiniteFloat]


class Rejection(_Form):
    """A reply that was not used."""

    market: str
    reason: str


class Round(_Form):
    """One round."""

    stage: str
    round: int
    seconds: FiniteFloat
    train_seconds: FiniteFloat
    bytes_up: int
    bytes_down: int
    accepted: list[str]
    rejected: list[Rejection]
    validation_before: FiniteFloat | None
    drift: FiniteFloat | None


class Bytes(_Form):
    """What was sent, in all."""

    up: int
    down: int


class Seconds(_Form):
    """How long it took, in all and by phase."""

    __pydantic_extra__: dict[str, FiniteFloat]
    total: FiniteFloat


class Replaced(_Form):
    """The same promise where neighbours have one history in place of another."""

    epsilon: FiniteFloat
    delta: FiniteFloat


class Privacy(_Form):
    """What holds for all markets; all null where nothing is noised."""

    unit: str | None
    epsilon: FiniteFloat | None
    delta: FiniteFloat | None
    accountant: str | None
    relation: str | None
    sampling: str | None
    mechanisms: list[str]
    replace_one: Replaced | None = None
    reports: Literal["withheld", "noised", "outside"] | None = None
    catalogue: Literal["declared", "occurring"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Privacy":
        promise = (self.unit, self.delta, self.accountant, self.relation, self.sampling)
        if self.epsilon is not None and None in promise:
            raise ValueError("an epsilon without all that it means")
        return self


class Failure(_Form):
    """A stage that a market did not finish."""

    market: str
    action: str
    reason: str


class Summary(_Form):
    """``summary.json``."""

    recipe: str
    seed: int
    engine: str
    dataset: str
    device: str
    protocol: str
    semantics: str | None
    markets: dict[str, Market]
    failed: list[Failure]
    mean: dict[str, dict[str, FiniteFloat]]
    rounds: list[Round]
    best_round: int | None
    warm_start: bool = False
    decided_by: str | None
    kept_first: list[str]
    bytes: Bytes
    seconds: Seconds
    peak_rss_mb: FiniteFloat
    privacy: Privacy


class Data(_Form):
    """Which data a run was made of."""

    folder: str | None
    hashes: dict[str, str]


class Deployment(_Form):
    """How a deployed run reached its markets."""

    connection: str
    markets: list[str]


class Manifest(_Form):
    """``manifest.json``."""

    device: str
    seed: int
    recipe: dict[str, Any]
    platform: str
    versions: dict[str, str]
    commit: str | None
    plugins: dict[str, dict[str, str]] = {}
    data: Data
    deployment: Deployment | None
    start_from: str | None
    warm_start: str | None = None


class Steps(_Form):
    """What is finished: of rounds their records."""

    scores: list[Round] = []
    pretrain: list[Round] = []
    refit: list[Round] = []
    codebook: list[Round] = []

    @model_validator(mode="after")
    def _figures(self) -> "Steps":
        for name, markets in (self.model_extra or {}).items():
            if name.startswith(("train.", "evaluate.")):
                _FIGURES.validate_python(markets, strict=True)
        return self


class Journal(_Form):
    """``journal.json``."""

    steps: Steps
    failed: list[Failure]
    bytes_up: int
    bytes_down: int
    seconds: dict[str, FiniteFloat]
    chosen: dict[str, Any]
    summed: list[str] | None = None


def check_form(form: type[BaseModel], value: Any, origin: str) -> None:
    """Raise :class:`UserError` naming the first key of ``value`` that is not as the form says."""
    try:
        form.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = cleaned(".".join(map(str, first["loc"])), 120)
        why = cleaned(str(first["msg"]), 120)
        raise UserError(f"{origin}: {key}: {why[0].lower()}{why[1:]}; is the run folder damaged?") from None
