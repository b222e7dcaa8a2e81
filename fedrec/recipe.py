"""The schema of an experiment: one YAML file says everything, and an unknown key is an error.

The shipped recipes (``fedrec/recipes/*.yaml``) are the manual of these keys; the defaults here are theirs.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fedrec.errors import UserError
from fedrec.files import market_name

Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ModelKind = Literal["fecosr", "acmr"]
Protocol = Literal["auto", "family", "temporal", "global-time", "acmr", "ctr"]
Method = Literal[
    "federated", "local", "local_shared_semantics", "pooled", "popularity", "itemknn", "ease", "fedease",
    "nocodes", "randomcodes",
]  # fmt: skip
CTR_METHODS = frozenset({"federated", "local", "pooled", "nocodes", "randomcodes"})  # whose codes a predictor sees
TEXT_KINDS = frozenset({"hashing", "model2vec", "sentence-transformers"})  # semantics that need no exchange
TRAINED = frozenset(  # train the sequential model
    {"federated", "local", "local_shared_semantics", "pooled", "nocodes", "randomcodes"}
)
ALONE = frozenset({"local", "nocodes", "randomcodes"})  # know of items only what the market knows alone
HEADLINES = ("federated", "fedease")  # methods whose difference to every other is reported, paired per user


class Section(BaseModel):
    """Base of every part of a recipe: frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Section):
    """Which markets of the data folder take part, and how many of their users are known so far."""

    markets: list[str] | None = Field(default=None, min_length=1, description="null takes every market found")
    user_share: float = Field(default=1.0, gt=0, le=1, description="the others train nothing and are only tested")

    @field_validator("markets")
    @classmethod
    def _safe_names(cls, names: list[str] | None) -> list[str] | None:
        if names is not None:
            names = sorted({market_name(name, "data.markets") for name in names})
        return names


class SemanticsSettings(Section):
    """How an item gets a vector that means the same in every market."""

    kind: Literal["auto", "hashing", "cooccurrence", "model2vec", "sentence-transformers"] = "auto"
    model: str | None = Field(default=None, description="text encoder: a folder or a hub's name; null: the default")
    dimension: int = Field(default=128, ge=2, le=4096)
    min_count: int = Field(default=2, ge=2, description="pairs of fewer users never leave; 1 would send single users")


class ModelSettings(Section):
    """What the federation trains, and how large it is."""

    kind: ModelKind = Field(default="fecosr", description="fecosr: causal, on item semantics; acmr: on item keys")
    dimension: int = Field(default=64, ge=2, le=1024)
    layers: int = Field(default=2, ge=1, le=32)
    heads: int = Field(default=2, ge=1, le=32)
    dropout: Probability = 0.2
    maximum_length: int = Field(default=50, ge=2, le=4096, description="older interactions are cut off")
    items: Literal["semantics", "codes"] = Field(default="semantics", description="what an item's vector is made of")
    bottleneck: int = Field(default=16, ge=1, le=1024, description="width of the private residual adapters")


class AcmrSettings(Section):
    """Of model.kind acmr: how it reads, and what it knows of the market."""

    reading: Literal["apart", "joint"] = Field(default="apart", description="joint: each candidate with the history")
    market_embedding: bool = Field(default=True, description="false is the ablation")
    negatives: int = Field(default=4, ge=1, le=100, description="drawn for each positive, in every epoch")


class LossSettings(Section):
    """Semantic soft cross-entropy. ``lam`` 0 is plain cross-entropy."""

    tau: Positive = 0.1
    lam: float = Field(default=0.3, ge=0, lt=1)
    tau_s: float = Field(default=0.1, ge=1e-3, le=1e3)
    neighbours: int = Field(default=20, ge=1, le=1000)


class TrainingSettings(Section):
    """The local training loop, the same for a market's federated rounds and its local-only twin."""

    epochs: int = Field(default=1, ge=1, le=100, description="passes over the market's sequences per round")
    batch_size: int = Field(default=128, ge=1, le=65536)
    learning_rate: Positive = 2e-3
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    proximal: float = Field(default=0.0, ge=0, description="FedProx: pull towards the parameters that came")
    device: Literal["auto", "cpu", "cuda"] = "auto"


class ServerOptimiserSettings(Section):
    """What the server does with the aggregate: take it, or treat its change as a gradient."""

    kind: Literal["none", "adam", "yogi"] = "none"
    learning_rate: Positive = 0.01
    beta_1: Probability = 0.9
    beta_2: Probability = 0.99
    tau: Positive = Field(default=1e-3, description="adaptivity: larger is closer to plain momentum")


class UpdateSettings(Section):
    """What happens to a shared update on its way out of a market."""

    clip_norm: Positive | None = Field(default=None, description="largest L2 norm of a change; null does not clip")
    compression: Literal["none", "int8", "top-k"] = "none"
    top_share: float = Field(default=0.05, gt=0, le=1, description="of top-k: share of the numbers that are sent")
    error_feedback: bool = Field(default=True, description="what compression left out is added to the next round")


class FaultSettings(Section):
    """Simulated trouble, for studies: drawn per market and round from the seed."""

    dropout: Probability = Field(default=0.0, description="chance that a sampled market does not answer")
    late: Probability = Field(default=0.0, description="chance that its answer comes a round too late")


class FederationSettings(Section):
    """The round loop."""

    rounds: int = Field(default=24, ge=1, le=100000)
    participation: float = Field(default=1.0, gt=0, le=1, description="share of the markets sampled each round")
    weights: Literal["interactions", "uniform", "square_root"] = "interactions"
    aggregation: Literal["mean", "median", "trimmed_mean"] = "mean"
    trim: float = Field(default=0.2, ge=0, lt=0.5, description="of trimmed_mean: share cut off at either end")
    optimiser: ServerOptimiserSettings = ServerOptimiserSettings()
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


class PriorSettings(Section):
    """The private item-item prior, mixed into the scores with weights learned on validation."""

    half_life_days: Positive = Field(default=300.0, description="weight of the user's older interactions")
    trend_days: Positive = Field(default=90.0, description="half-life of the popularity trend")
    federated: bool = Field(default=False, description="add views of the summed counts (federated EASE) to it")


class EaseSettings(Section):
    """EASE: the values tried on validation. One value each fixes them."""

    lambdas: list[Positive] = Field(default=[10.0, 100.0, 300.0], min_length=1)
    popularity_weights: list[Annotated[float, Field(ge=0)]] = Field(default=[0.0, 0.003, 0.01, 0.03], min_length=1)


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
    methods: list[Method] = Field(default=["federated", "local", "popularity", "ease"], min_length=1)
    resamples: int = Field(default=1000, ge=10, le=100000, description="bootstrap draws of the paired intervals")


class CollaborativeSettings(Section):
    """Vectors of items and users from who met what, trained in each market alone and then frozen."""

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
    least_count: int = Field(default=3, ge=1, description="a code of fewer items of a market is not told")
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
    delta: float = Field(default=1e-5, gt=0, lt=1, description="must be below one in the users of every market")
    accountant: Literal["pld", "rdp"] = "pld"
    clip_norm: Positive = Field(default=1.0, description="largest L2 norm of one user's gradient")
    batch_size: int = Field(default=256, ge=1, le=65536, description="users expected in a step, drawn by Poisson")
    trains: Literal["encoder", "everything"] = Field(default="encoder", description="what rounds train")
    pairs_share: float = Field(default=0.3, gt=0, lt=1, description="of epsilon, for the release of item pairs")
    reports: Literal["outside", "withheld"] = Field(
        default="outside", description="figures of validation and test leave outside epsilon, or stay"
    )

    @property
    def on(self) -> bool:
        """Whether anything is noised at all."""
        return self.epsilon is not None or self.noise_multiplier is not None


class MarketPrivacySettings(Section):
    """Differential privacy of whole markets, by noise that the server adds: for federations of many markets."""

    epsilon: Positive | None = Field(default=None, description="of the shared model; null is off")
    noise_multiplier: Positive | None = Field(default=None, description="instead of solving for it")
    delta: float = Field(default=1e-3, gt=0, lt=1, description="must be below one in the markets")
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
    """Pacer and Runner: every market's own twin tells how far it may go with the federated model."""

    scales: Literal["nothing", "loss", "share"] = Field(default="nothing", description="what negative transfer weighs")
    temperature: float = Field(default=0.2, ge=1e-3, le=1e3, description="nats of negative transfer that count as much")
    alignment: float = Field(default=0.0, ge=0, le=100, description="weight of InfoNCE between twin and runner")

    @property
    def on(self) -> bool:
        """Whether markets train a twin in every round."""
        return self.scales != "nothing" or self.alignment > 0


class EngineSettings(Section):
    """Where the clients run."""

    kind: Literal["inline", "ray", "deploy"] = "inline"
    workers: int = Field(default=0, ge=0, le=1024, description="processes of inline; 0 computes in this one")


class RaySettings(Section):
    """Flower's simulation engine on Ray."""

    address: str | None = Field(default=None, description="an existing cluster, such as auto; null starts one here")
    cpus: float = Field(default=1.0, gt=0, description="of a client")
    gpus: float = Field(default=0.0, ge=0, description="of a client; fractions share a card")


class Recipe(Section):
    """Everything about one experiment."""

    name: str = Field(default="fecosr", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    task: Literal["sequential", "ctr"] = Field(default="sequential", description="what is predicted")
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataSettings = DataSettings()
    semantics: SemanticsSettings = SemanticsSettings()
    model: ModelSettings = ModelSettings()
    acmr: AcmrSettings = AcmrSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
    update: UpdateSettings = UpdateSettings()
    federation: FederationSettings = FederationSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    prior: PriorSettings = PriorSettings()
    ease: EaseSettings = EaseSettings()
    itemknn: ItemKNNSettings = ItemKNNSettings()
    fedease: FedEaseSettings = FedEaseSettings()
    collaborative: CollaborativeSettings = CollaborativeSettings()
    codes: CodesSettings = CodesSettings()
    ctr: CtrSettings = CtrSettings()
    privacy: PrivacySettings = PrivacySettings()
    market_privacy: MarketPrivacySettings = MarketPrivacySettings()
    masks: MasksSettings = MasksSettings()
    pacer: PacerSettings = PacerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    engine: EngineSettings = EngineSettings()
    ray: RaySettings = RaySettings()

    @property
    def trains(self) -> bool:
        """Whether any chosen method needs the sequential model at all."""
        return self.task == "sequential" and bool(TRAINED & set(self.evaluation.methods))

    @property
    def alignment(self) -> Alignment:
        """How codes of different markets are made to mean the same; ``auto`` must be resolved."""
        if self.codes.alignment == "auto":
            raise ValueError("codes.alignment: auto is not resolved")
        return self.codes.alignment

    @property
    def uses_codes(self) -> bool:
        """Whether items are known by codes."""
        return self.task == "ctr" or self.model.items == "codes"

    @property
    def sends_keys(self) -> bool:
        """Whether item keys leave for shared item vectors: those of summed counts, where a method needs them."""
        if self.semantics.kind != "cooccurrence" or self.model.kind == "acmr":
            return False
        methods = set(self.evaluation.methods)
        if self.task == "ctr":
            return self.alignment != "none" and "federated" in methods
        return bool({"federated", "local_shared_semantics", "pooled"} & methods)

    @property
    def shares_vocabulary(self) -> bool:
        """Whether item keys leave for a list of all of them: to rank the union, or for a table with a row for each."""
        return self.evaluation.protocol == "acmr" or (self.model.kind == "acmr" and self.trains)

    @property
    def releases_pairs(self) -> bool:
        """Whether statistics of item pairs leave."""
        return self.sends_keys or self.sums_counts

    @property
    def sums_counts(self) -> bool:
        """Whether the markets' item-item counts are summed."""
        mixed = self.prior.federated and {"federated", "pooled"} & set(self.evaluation.methods)
        return "fedease" in self.evaluation.methods or bool(mixed)

    def resolved(self, every_market_has_families: bool, every_market_has_text: bool) -> "Recipe":
        """Every ``auto`` replaced by what the markets allow, so that all of them do the same.

        Protocol: ``family`` where every market has a family map, else ``temporal``; click-through has its own.
        Semantics: ``hashing`` where items have text, else ``cooccurrence``. Alignment of codes: ``layered`` where items
        have text, else ``gram``, whose semantics are ``cooccurrence`` whatever the items have.
        """
        protocol, kind, alignment = self.evaluation.protocol, self.semantics.kind, self.codes.alignment
        if protocol == "auto":
            protocol = "ctr" if self.task == "ctr" else "family" if every_market_has_families else "temporal"
        if alignment == "auto":
            alignment = "layered" if every_market_has_text and kind != "cooccurrence" else "gram"
        if kind == "auto":
            text = every_market_has_text and not (self.uses_codes and alignment == "gram")
            kind = "hashing" if text else "cooccurrence"
        return self.model_copy(
            update={
                "evaluation": self.evaluation.model_copy(update={"protocol": protocol}),
                "semantics": self.semantics.model_copy(update={"kind": kind}),
                "codes": self.codes.model_copy(update={"alignment": alignment}),
            }
        )

    def contradiction(self) -> str | None:
        """What no single key shows to be wrong: the keys at odds, and the remedy."""
        return (
            self._ctr_contradiction()
            or self._contradiction()
            or self._privacy_contradiction()
            or self._market_privacy_contradiction()
            or self._masks_contradiction()
            or self._acmr_contradiction()
            or self._pacer_contradiction()
        )

    def _ctr_contradiction(self) -> str | None:
        evaluation, codes, kind = self.evaluation, self.codes, self.semantics.kind
        if (self.task == "ctr") != (evaluation.protocol == "ctr") and evaluation.protocol != "auto":
            return f"evaluation.protocol {evaluation.protocol!r} does not fit task {self.task!r}; set it to auto"
        others = set(evaluation.methods) - CTR_METHODS if self.task == "ctr" else set()
        if others:
            return f"evaluation.methods: {', '.join(sorted(others))}: not of task 'ctr'; remove them"
        codes_methods = {"nocodes", "randomcodes"} & set(evaluation.methods)
        if self.task == "sequential" and self.model.items != "codes" and codes_methods:
            return f"evaluation.methods: {', '.join(sorted(codes_methods))}: only with model.items=codes; remove them"
        if self.model.items == "codes" and "local_shared_semantics" in evaluation.methods:
            return "evaluation.methods: local_shared_semantics is not of model.items 'codes'; remove it"
        if self.model.items == "codes" and not codes.global_levels:
            return "codes.global_levels is empty: model.items 'codes' shares the embeddings of its codes; give it one"
        if not codes.global_levels and not codes.local_levels:
            return "codes.global_levels and codes.local_levels are both empty; give one of them a level"
        if codes.alignment == "gram" and kind in TEXT_KINDS:
            return f"codes.alignment gram is made of counts, at odds with semantics.kind {kind!r}; change one"
        counted = codes.alignment == "gram" or (kind == "cooccurrence" and codes.alignment != "none")
        if self.uses_codes and counted and not codes.share_keys:
            return "codes.share_keys false: counts over item keys are all these markets have in common; share the keys"
        if codes.alignment == "layered" and kind == "cooccurrence":
            return "codes.alignment layered needs texts; on counts (semantics.kind cooccurrence) it is called gram"
        return None

    def _privacy_contradiction(self) -> str | None:
        if not self.privacy.on:
            return None
        federated = "federated" in self.evaluation.methods
        if self.uses_codes and federated and self.codes.alignment in {"semantic", "procrustes", "none"}:
            return (
                f"codes.alignment {self.codes.alignment!r} makes codes of single users' vectors, which is not private; "
                "set it to gram or layered"
            )
        if self.training.proximal:
            return "training.proximal: a private step has no such term; set it to 0"
        if self.fedease.restrict == "after" and self.sums_counts:
            return (
                "fedease.restrict 'after' needs counts of all markets in every market; under privacy set it to before"
            )
        return None

    def _market_privacy_contradiction(self) -> str | None:
        if not self.market_privacy.on:
            return None
        if self.privacy.on:
            return "market_privacy and privacy: a run keeps one promise, of its users or of its markets; turn one off"
        if self.federation.weights != "uniform" or self.federation.aggregation != "mean":
            return (
                "market_privacy: a market may not weigh more than others; set federation.weights=uniform and "
                "federation.aggregation=mean"
            )
        if self.uses_codes or self.releases_pairs:
            return (
                "market_privacy covers the shared model alone, but item pairs or codes leave too; choose item vectors "
                "that exchange nothing (semantics.kind=hashing) and no fedease"
            )
        if self.masks.enabled or self.update.compression != "none":
            return (
                "market_privacy: the server clips every change itself; set masks.enabled=false, update.compression=none"
            )
        return None

    @property
    def judged(self) -> bool:
        """Whether figures of validation decide how many rounds there are: not where rounds are private."""
        return not (self.privacy.on or self.market_privacy.on)

    def _masks_contradiction(self) -> str | None:
        if not self.masks.enabled:
            return None
        if self.federation.aggregation != "mean":
            return (
                f"federation.aggregation {self.federation.aggregation!r} looks at every market's numbers, which masks "
                "hide; set it to mean"
            )
        if self.update.compression != "none":
            return (
                f"update.compression {self.update.compression!r}: what is masked cannot be compressed; set it to none"
            )
        if self.federation.faults.late:
            return "federation.faults.late: an answer to an earlier sum fits no later one; set it to 0"
        return None

    def _acmr_contradiction(self) -> str | None:
        if self.model.kind != "acmr":
            return None
        if self.task != "sequential" or self.model.items == "codes":
            return "model.kind acmr knows items by their keys alone; set task=sequential and model.items=semantics"
        if "local_shared_semantics" in self.evaluation.methods:
            return "evaluation.methods: local_shared_semantics: model.kind acmr uses no semantics; remove it"
        if self.privacy.on or self.market_privacy.on:
            return "model.kind acmr has no private steps (its item table shows what a market sells); turn privacy off"
        return None

    def _pacer_contradiction(self) -> str | None:
        if not self.pacer.on:
            return None
        if self.privacy.on or self.market_privacy.on or self.masks.enabled:
            return (
                "pacer: every market reports how far the model is from its own, outside noise and masks; turn one off"
            )
        if self.pacer.scales == "share" and self.federation.aggregation != "mean":
            return (
                f"pacer.scales share: federation.aggregation {self.federation.aggregation!r} has no weights; use mean"
            )
        if self.task == "ctr" or "federated" not in self.evaluation.methods:
            return (
                "pacer: paces the rounds of method federated of a sequential model, and this recipe has none; remove it"
            )
        return None

    def _contradiction(self) -> str | None:
        """That of the sequential model, its evaluation and the engine."""
        model, evaluation = self.model, self.evaluation
        if model.dimension % model.heads:
            return f"model.dimension {model.dimension} is not a multiple of model.heads {model.heads}; change one"
        if evaluation.protocol in {"global-time", "acmr"} and (evaluation.holdout, evaluation.ties) != (
            "item",
            "source",
        ):
            return (
                f"evaluation.holdout {evaluation.holdout!r} and ties {evaluation.ties!r} are for protocols family and "
                f"temporal; remove them or change protocol {evaluation.protocol!r}"
            )
        if (evaluation.protocol == "global-time") != (evaluation.cut_date is not None):
            return (
                "evaluation.cut_date: protocol global-time needs a date, and no other takes one "
                "(`fedrec data describe DIR` shows when the interactions lie)"
            )
        if self.semantics.model is not None and self.semantics.kind not in {"model2vec", "sentence-transformers"}:
            return (
                f"semantics.model {self.semantics.model!r}: semantics.kind {self.semantics.kind!r} has no model; "
                "set it to model2vec or sentence-transformers"
            )
        if self.engine.kind != "inline" and self.engine.workers:
            return f"engine.workers {self.engine.workers}: is for engine inline, not {self.engine.kind}; remove one"
        federation = self.federation
        deadline = federation.deadline_seconds or federation.stage_deadline_seconds
        if deadline is not None and self.engine.kind == "inline" and not self.engine.workers:
            return (
                f"federation deadline {deadline:g} s: a client in this process cannot be cut off; "
                "set engine.workers=1 or more, or engine.kind=ray"
            )
        return None


def recipe_names() -> list[str]:
    """The recipes shipped with the package."""
    folder = resources.files("fedrec") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """The YAML of a shipped recipe."""
    return (resources.files("fedrec") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def load_recipe(reference: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or file path and apply ``a.b=value`` overrides.

    Raises :class:`UserError` for an unknown recipe or key (with the nearest valid name), a value out of range,
    or YAML that does not parse.
    """
    path = Path(reference)
    if reference in recipe_names():
        origin, text = f"recipe {reference}", recipe_text(reference)
    elif path.suffix in {".yaml", ".yml"} or path.is_file():
        origin = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as a recipe ({_first_line(error)})") from None
    else:
        raise UserError(f"recipe {reference!r} is unknown{_nearest(reference, recipe_names())}")
    values = _parse_yaml(text, origin)
    if not isinstance(values, dict):
        raise UserError(f"{origin}: a recipe is a mapping of keys to values, not {type(values).__name__}")
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, origin)


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors; what keys must be together is checked by :func:`load_recipe` alone."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fedrec recipe"}


def override_recipe(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]) -> Recipe:
    """A copy with some keys of some sections changed, then ``a.b=value`` overrides applied."""
    values = recipe.model_dump(mode="json")
    for section, keys in changes.items():
        values[section] |= keys
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, "--set")


def parse_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Validate already parsed values; ``origin`` names their source in errors."""
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error)}") from None
    contradiction = recipe.contradiction()
    if contradiction:
        raise UserError(f"{origin}: {contradiction}")
    return recipe


def recipe_json(recipe: Recipe) -> str:
    """The recipe as one JSON string, the form in which it travels."""
    return json.dumps(recipe.model_dump(mode="json"), sort_keys=True)


def _parse_yaml(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{origin}: not valid YAML ({_first_line(error)})") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override!r}: write it as key.key=value, for example --set loss.lam=0")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override!r}: {parent!r} is a value, not a section")
    values[last] = _parse_yaml(text, f"--set {override!r}")


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_nearest(str(first['loc'][-1]), list(_known_keys(first['loc'][:-1])))}"
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key} = {first['input']!r}: {message[0].lower()}{message[1:]}{more}"


def _known_keys(location: tuple[int | str, ...]) -> Iterator[str]:
    model: Any = Recipe
    for part in location:
        model = model.model_fields[part].annotation
    yield from model.model_fields


def _nearest(name: str, known: Sequence[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {matches[0]!r}?" if matches else f"; known: {', '.join(known)}"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
