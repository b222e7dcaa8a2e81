"""The sections of a recipe: keys, defaults, ranges. Their manual: the shipped recipes (``fedrec/recipes/*.yaml``)."""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fedrec.components.chosen import named
from fedrec.components.section import Section
from fedrec.files import market_name
from fedrec.recipe.choices import MetricsChoice, StagesChoice

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Protocol = Literal["auto", "family", "temporal", "global-time", "acmr", "ctr"]
Method = Literal[
    "federated", "local", "local_shared_semantics", "local_shared_statistics", "pooled", "popularity", "itemknn",
    "ease", "fedease", "nocodes", "randomcodes",
]  # fmt: skip
TRAINED = frozenset(  # train the model of the algorithm
    {"federated", "local", "local_shared_semantics", "local_shared_statistics", "pooled", "nocodes", "randomcodes"}
)
ALONE = frozenset({"local", "nocodes", "randomcodes"})  # know of items only what the market knows alone
HEADLINES = ("federated", "fedease")  # methods whose difference to every other is reported, paired per user


class DataSettings(Section):
    """Which markets of the data folder take part, and how many of their users are known so far."""

    markets: list[str] | None = Field(default=None, min_length=1, description="null takes every market found")
    user_share: float = Field(default=1.0, gt=0, le=1, description="the others train nothing and are only tested")

    @field_validator("markets", mode="before")
    @classmethod
    def _texts(cls, names: Any) -> Any:
        """Markets 1 and 2 are called "1" and "2"; a name that YAML takes for something else must stand in quotes."""
        if not isinstance(names, list):
            return names
        for name in names:
            if not isinstance(name, (str, int)) or isinstance(name, bool):
                raise ValueError(f"{name} is no text; put the name in quotes")
        return [str(name) for name in names]

    @field_validator("markets")
    @classmethod
    def _safe_names(cls, names: list[str] | None) -> list[str] | None:
        if names is not None:
            names = sorted({market_name(name, "data.markets") for name in names})
        return names


class ModelSettings(Section):
    """How large the model is that the federation trains."""

    dimension: int = Field(default=64, ge=2, le=1024)
    dropout: Probability = 0.2
    maximum_length: int = Field(default=50, ge=2, le=4096, description="older interactions are cut off")
    bottleneck: int = Field(default=16, ge=1, le=1024, description="width of the private residual adapters")


class TrainingSettings(Section):
    """The local training loop, the same for a market's federated rounds and its local baseline."""

    epochs: int = Field(default=1, ge=1, le=100, description="passes over the market's sequences per round")
    batch_size: int = Field(default=128, ge=1, le=65536)
    learning_rate: Positive = 2e-3
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    schedule: Literal["constant", "linear"] = Field(
        default="constant", description="linear: the rate falls from round to round, towards zero after the last"
    )
    proximal: float = Field(default=0.0, ge=0, description="FedProx: pull towards the parameters that came")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of a sequential model's matrix products; auto: bfloat16 on a GPU, float32 on a CPU"
    )


class UpdateSettings(Section):
    """What happens to a shared update on its way out of a market."""

    clip_norm: Positive | None = Field(default=None, description="largest L2 norm of a change; null does not clip")
    compression: Literal["none", "int8", "top-k"] = "none"
    top_share: float = Field(default=0.05, gt=0, le=1, description="of top-k: share of the numbers that are sent")
    error_feedback: bool = Field(default=True, description="what compression left out is added to the next round")
    stages: StagesChoice = Field(default=[], max_length=20, description="more of them, sorted by their places")


class FaultSettings(Section):
    """Simulated trouble, for studies: drawn per market and round from the seed."""

    dropout: Probability = Field(default=0.0, description="chance that a sampled market does not answer")
    late: Probability = Field(default=0.0, description="chance that its answer comes a round too late")


class FederationSettings(Section):
    """The round loop."""

    rounds: int = Field(default=24, ge=1, le=100000)
    participation: float = Field(default=1.0, gt=0, le=1, description="share of the markets sampled each round")
    weights: Literal["interactions", "uniform", "square_root"] = "interactions"
    max_share: float = Field(
        default=1.0, gt=0, le=1, description="largest weight of one market, in averages and codebooks"
    )
    max_items: int = Field(default=200_000, ge=1, le=2_000_000, description="largest catalogue that is taken")
    validators: int | None = Field(
        default=None, ge=1, description="fixed markets, drawn from the seed, that say how good a model is; null: all"
    )
    quorum: float = Field(default=0.5, gt=0, le=1, description="share of the sampled that must be accepted")
    norm_bound: Positive = Field(default=1000.0, description="largest L2 norm of one market's change")
    patience: int = Field(default=5, ge=1, description="rounds without a better validation before stopping")
    deadline_seconds: Positive | None = Field(default=None, description="of one round; null waits for every market")
    stage_deadline_seconds: Positive | None = Field(default=None, description="of every other question")
    faults: FaultSettings = FaultSettings()


class FinetuneSettings(Section):
    """Stage two: each market adapts the shared model alone."""

    epochs: int = Field(default=20, ge=0, le=1000)
    learning_rate: Positive = 1e-3
    patience: int = Field(default=3, ge=1)
    train_shared: bool = Field(default=True, description="false freezes the market's copy of the shared groups")
    proximal: float = Field(default=0.0, ge=0, description="Ditto: pull of shared groups to where stage one ended")


class ScoresSettings(Section):
    """A sequential model that is trained before a ranker, without what that learns to find: its scores are a feature.

    Sections ``semantics``, ``encoder``, ``loss``, ``codes`` and ``model`` describe it; what is below is its training,
    in place of the ranker's.
    """

    kind: Literal["auto", "none", "fecosr", "codes"] = Field(
        default="none", description="its algorithm; none trains none; auto: fecosr where items have texts, else none"
    )
    pairs: Literal["once", "again"] = Field(
        default="once",
        description="where items have no texts: vectors of the pairs that were summed for the ranker, or of pairs that "
        "are counted again without what the ranker is to find; the difference of both may be of one user",
    )
    rounds: int = Field(default=24, ge=1, le=100000)
    patience: int = Field(default=5, ge=1, description="rounds without a better validation before stopping")
    epochs: int = Field(default=1, ge=1, le=100, description="passes over the market's sequences per round")
    batch_size: int = Field(default=128, ge=1, le=65536)
    learning_rate: Positive = 2e-3
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    dropout: Probability = 0.2
    finetune_epochs: int = Field(default=20, ge=0, le=1000, description="in each market, on all of the model")

    @property
    def on(self) -> bool:
        """Whether there is such a model; ``auto`` must be resolved."""
        return self.kind not in {"none", "auto"}


class PriorSettings(Section):
    """The private item-item prior, mixed into the scores with weights learned on validation."""

    half_life_days: Positive = Field(default=300.0, description="weight of the user's older interactions")
    trend_days: Positive = Field(default=90.0, description="half-life of the popularity trend")
    federated: bool = Field(default=False, description="add views of the summed counts (federated EASE) to it")


class EaseSettings(Section):
    """EASE: the values tried on validation. One value each fixes them."""

    lambdas: list[Positive] = Field(default=[10.0, 100.0, 300.0], min_length=1)
    popularity_weights: list[Annotated[float, Field(ge=0)]] = Field(default=[0.0, 0.003, 0.01, 0.03], min_length=1)
    dense_items: int = Field(
        default=10_000,
        ge=0,
        description="larger catalogues have sparse weights; also in the prior, fedease and ranker",
    )
    neighbours: int = Field(default=500, ge=1, description="items that an item's sparse weights are of, at most")


class ItemKNNSettings(Section):
    """Item-kNN: the values tried on validation. One value each fixes them."""

    neighbours: list[Annotated[int, Field(ge=1)]] = Field(default=[20, 100, 1000], min_length=1)
    shrink: list[Annotated[float, Field(ge=0)]] = Field(default=[0.0, 10.0], min_length=1)


class FedEaseSettings(Section):
    """Federated EASE: item-item counts summed over the markets, in one exchange."""

    lambdas: list[Positive] = Field(default=[3.0, 10.0, 50.0, 100.0, 300.0], min_length=1)
    min_count: int = Field(default=1, ge=1, description="1 is exact; more holds rarer pairs back in the market")
    restrict: Literal["before", "after"] = Field(
        default="before", description="take the market's catalogue before or after the counts are inverted"
    )


class EvaluationSettings(Section):
    """What is measured: one protocol a run, because it decides the data the models see."""

    protocol: Protocol = "auto"
    cut_date: date | None = Field(default=None, description="of protocol global-time: train before, test after")
    holdout: Literal["item", "untied", "basket"] = Field(default="item", description="what is held out of each user")
    ties: Literal["source", "random"] = Field(default="source", description="order of rows of one moment")
    catalogue: Literal["known", "union", "all", "declared"] = Field(
        default="known",
        description="what is ranked: items known before the held-out row (declared: models know the whole items file), "
        "those of all markets, or held-out ones too",
    )
    methods: list[Method] = Field(default=["federated", "local", "popularity", "ease"], min_length=1)
    metrics: MetricsChoice = Field(
        default_factory=named("metric", "ndcg", "recall", "mrr", "coverage"),
        min_length=1,
        max_length=50,
        description="of rankings, each at every cutoff",
    )
    cutoffs: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        default=[10, 20], min_length=1, max_length=10, description="lengths of the lists that metrics look at"
    )
    resamples: int = Field(default=1000, ge=10, le=100000, description="bootstrap draws of the paired intervals")

    @field_validator("cut_date", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """A number is no date, though pydantic would take it for seconds since 1970."""
        if value is None or isinstance(value, date) or (isinstance(value, str) and _DATE.fullmatch(value)):
            return value
        raise ValueError("a date is written YYYY-MM-DD")


class CollaborativeSettings(Section):
    """User and item embeddings from interactions, trained in each market alone and then frozen."""

    source: Literal["bpr", "lightgcn", "sequential"] = "bpr"
    dimension: int = Field(default=32, ge=2, le=1024)
    layers: int = Field(default=2, ge=1, le=8, description="of lightgcn: steps over the graph")
    epochs: int = Field(default=60, ge=1, le=10000)
    batch_size: int = Field(default=1024, ge=1, le=65536)
    learning_rate: Positive = 0.01
    penalty: float = Field(default=0.1, ge=0, description="on the squared norm of the vectors of a batch")


Alignment = Literal["gram", "semantic", "layered", "procrustes", "none"]


class CodesSettings(Section):
    """Codes of items and users: residual quantisation with levels that all markets share and levels of their own."""

    alignment: Literal["auto", "gram", "semantic", "layered", "procrustes", "none"] = "auto"
    global_levels: list[Annotated[int, Field(ge=2, le=65536)]] = Field(default=[64], description="codes a level")
    local_levels: list[Annotated[int, Field(ge=2, le=65536)]] = Field(default=[32], description="codes a level")
    dimension: int = Field(default=32, ge=2, le=1024, description="of the space that is quantised")
    hidden: int = Field(default=32, ge=2, le=4096, description="width of encoder and decoder")
    beta: float = Field(default=0.25, ge=0, le=100, description="commitment of the encoder to its code")
    contrast: float = Field(default=0.1, ge=0, le=100, description="of semantic: weight of the collaborative loss")
    rounds: int = Field(default=20, ge=1, le=100000)
    refine: int = Field(default=5, ge=0, le=1000, description="first rounds that move only the codebook")
    epochs: int = Field(default=5, ge=1, le=1000, description="passes over the market's items per round")
    batch_size: int = Field(default=256, ge=1, le=65536)
    learning_rate: Positive = 5e-3
    decay: Probability = Field(default=0.0, description="moving average of counts and sums; 0 takes each round's own")
    min_count: int = Field(default=3, ge=1, description="a code of fewer items of a market is not told")
    dead: Literal["reseed", "keep"] = Field(default="reseed", description="what becomes of codes that nobody uses")
    share_keys: bool = Field(default=True, description="false: no item key ever leaves; not with gram")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes of every level, the common ones first."""
        return (*self.global_levels, *self.local_levels)


class CtrSettings(Section):
    """Click-through prediction."""

    task: Literal["sampled", "ratings"] = Field(default="sampled", description="what the labels are")
    positive: float = Field(default=4.0, description="of ratings: the least that counts as liked")
    negatives: int = Field(default=4, ge=1, le=100, description="of sampled: per positive, drawn by popularity")
    backbone: Literal["widedeep", "deepfm", "dcnv2", "din"] = "deepfm"
    codes: Literal["both", "users", "items"] = Field(default="both", description="whose codes are fields")
    dimension: int = Field(default=16, ge=1, le=1024, description="of every field's embedding")
    hidden: list[Annotated[int, Field(ge=1, le=65536)]] = Field(default=[64, 32], description="of the perceptron")
    crosses: int = Field(default=2, ge=1, le=32, description="of dcnv2: cross layers")
    history: int = Field(default=20, ge=1, le=4096, description="of din: the latest items that it sees")
    dropout: Probability = 0.2
    epochs: int = Field(default=20, ge=1, le=1000)
    batch_size: int = Field(default=256, ge=1, le=65536)
    learning_rate: Positive = 1e-3
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    patience: int = Field(default=3, ge=1, description="epochs without better validation before stopping")


class PrivacySettings(Section):
    """Differential privacy of every user. ``epsilon`` or ``noise_multiplier`` turns it on."""

    epsilon: Positive | None = Field(default=None, description="of everything that leaves a market; null is off")
    noise_multiplier: Positive | None = Field(default=None, description="of every release, instead of solving for it")
    delta: float = Field(default=1e-5, gt=0, lt=1, description="at most a tenth of one in the users of any market")
    accountant: Literal["pld", "rdp"] = "pld"
    clip_norm: Positive = Field(default=1.0, description="largest L2 norm of one user's gradient")
    batch_size: int = Field(default=256, ge=1, le=65536, description="users expected in a step, drawn by Poisson")
    trains: Literal["encoder", "everything"] = Field(default="encoder", description="what rounds train")
    catalogue: Literal["declared", "occurring"] = Field(
        default="declared",
        description="the list of items is public: what the operator declared, or also one made of the users' rows",
    )
    pairs_share: float = Field(default=0.3, gt=0, lt=1, description="of epsilon, for the release of item pairs")
    reports: Literal["withheld", "noised", "outside"] = Field(
        default="withheld",
        description="figures of test stay, leave under noise (of the shared model alone), or once outside epsilon",
    )
    reports_share: float = Field(default=0.1, gt=0, lt=1, description="of epsilon, for noised figures")

    @property
    def on(self) -> bool:
        """Whether anything is noised at all."""
        return self.epsilon is not None or self.noise_multiplier is not None


class MarketPrivacySettings(Section):
    """Differential privacy of whole markets, by noise that the server adds: for federations of many markets."""

    epsilon: Positive | None = Field(default=None, description="of the shared model; null is off")
    noise_multiplier: Positive | None = Field(default=None, description="instead of solving for it")
    delta: float = Field(default=1e-3, gt=0, lt=1, description="at most a tenth of one in the markets")
    accountant: Literal["pld", "rdp"] = "pld"
    clip_norm: Positive = Field(default=1.0, description="largest L2 norm of one market's change")

    @property
    def on(self) -> bool:
        """Whether the server adds noise."""
        return self.epsilon is not None or self.noise_multiplier is not None


class MasksSettings(Section):
    """Secure aggregation: the server learns sums over markets and no single market's part."""

    enabled: bool = False
    threshold: float = Field(default=0.7, gt=0.5, le=1, description="share of the markets that must stay to the end")
    range: Positive = Field(default=16.0, description="largest change of one number; a market with more stays away")


class PacerSettings(Section):
    """Pacer and Runner: a model of every market's own says how far the market may go with the federated model."""

    scales: Literal["nothing", "loss", "share"] = Field(default="nothing", description="what negative transfer weighs")
    temperature: float = Field(default=0.2, ge=1e-3, le=1e3, description="nats of negative transfer that count as much")
    alignment: float = Field(default=0.0, ge=0, le=100, description="weight of InfoNCE between pacer and runner")

    @property
    def on(self) -> bool:
        """Whether markets train a pacer in every round."""
        return self.scales != "nothing" or self.alignment > 0


class EngineSettings(Section):
    """Where the clients run."""

    kind: Literal["inline", "ray", "deploy"] = "inline"
    workers: int = Field(default=0, ge=0, le=1024, description="processes of inline; 0 computes in this one")


class RaySettings(Section):
    """Of engine.kind ray: actors that answer for markets, here or on a cluster."""

    address: str | None = Field(
        default=None, max_length=500, description="an existing cluster, such as auto; null starts one here"
    )
    cpus: float = Field(default=1.0, gt=0, description="of a client")
    gpus: float = Field(default=0.0, ge=0, description="of a client; fractions share a card")
