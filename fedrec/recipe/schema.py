"""A whole recipe, and what follows from its keys."""

from pydantic import Field

from fedrec.components.algorithm import Need, Step, Task, algorithm_named, algorithm_of
from fedrec.components.registry import find
from fedrec.components.section import Section
from fedrec.exchange.payload import SCORES
from fedrec.recipe.choices import AggregatorChoice, AlgorithmChoice, EncoderChoice, LossChoice, SemanticsChoice
from fedrec.recipe.settings import (
    TRAINED,
    Alignment,
    CodesSettings,
    CollaborativeSettings,
    CtrSettings,
    DataSettings,
    EaseSettings,
    EngineSettings,
    EvaluationSettings,
    FedEaseSettings,
    FederationSettings,
    FinetuneSettings,
    ItemKNNSettings,
    MarketPrivacySettings,
    MasksSettings,
    ModelSettings,
    PacerSettings,
    PriorSettings,
    PrivacySettings,
    RaySettings,
    ScoresSettings,
    TrainingSettings,
    UpdateSettings,
)


class Recipe(Section):
    """Everything about one experiment."""

    name: str = Field(default="fecosr", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataSettings = DataSettings()
    algorithm: AlgorithmChoice
    semantics: SemanticsChoice
    model: ModelSettings = ModelSettings()
    encoder: EncoderChoice
    loss: LossChoice
    training: TrainingSettings = TrainingSettings()
    update: UpdateSettings = UpdateSettings()
    federation: FederationSettings = FederationSettings()
    aggregator: AggregatorChoice
    finetune: FinetuneSettings = FinetuneSettings()
    scores: ScoresSettings = ScoresSettings()
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
    def is_resolved(self) -> bool:
        """Whether no ``auto`` is left in it that depends on what the markets have."""
        return "auto" not in (self.evaluation.protocol, self.semantics.kind, self.codes.alignment, self.scores.kind)

    @property
    def task(self) -> Task:
        """What is predicted."""
        return algorithm_named(self.algorithm.kind).task

    @property
    def needs(self) -> frozenset[Need]:
        """What the algorithm has to have of the federation."""
        return algorithm_named(self.algorithm.kind).needs

    @property
    def trains(self) -> bool:
        """Whether any chosen method needs the algorithm's model at all."""
        return self.task == "sequential" and bool(TRAINED & set(self.evaluation.methods))

    @property
    def federates(self) -> bool:
        """Whether the model is trained in rounds of all markets."""
        return Step.ROUNDS in algorithm_of(self).plan()

    @property
    def alignment(self) -> Alignment:
        """How codes of different markets are made to mean the same; ``auto`` must be resolved."""
        if self.codes.alignment == "auto":
            raise ValueError("codes.alignment: auto is not resolved")
        return self.codes.alignment

    @property
    def uses_codes(self) -> bool:
        """Whether items are known by codes."""
        return Need.CODES in self.needs

    @property
    def sends_keys(self) -> bool:
        """Whether item keys leave for shared item vectors: those of summed counts, where a method needs them."""
        if not find("semantics", self.semantics.kind).exchanges or Need.ITEM_VECTORS not in self.needs:
            return False
        methods = set(self.evaluation.methods)
        if self.task == "ctr":
            return self.alignment != "none" and "federated" in methods
        return bool({"federated", "local_shared_semantics", "pooled"} & methods)

    @property
    def text_model(self) -> str | None:
        """The pretrained text encoder that is named; kinds of semantics from outside have none."""
        found: str | None = getattr(self.semantics, "model", None)
        return found

    @property
    def splitting(self) -> EvaluationSettings:
        """How a market's rows are split, and over which items.

        Under privacy over those that its operator declares, for what users bought must not number what leaves.
        """
        if not self.privacy.on:
            return self.evaluation
        return self.evaluation.model_copy(update={"catalogue": "declared"})

    @property
    def ranks_union(self) -> bool:
        """Whether every market ranks what any market sells."""
        return self.evaluation.protocol == "acmr" or self.evaluation.catalogue == "union"

    @property
    def shares_vocabulary(self) -> bool:
        """Whether item keys leave for a list of all of them: to rank the union, or for a table with a row for each."""
        return self.ranks_union or (Need.VOCABULARY in self.needs and self.trains)

    @property
    def releases_pairs(self) -> bool:
        """Whether statistics of item pairs leave."""
        return self.sends_keys or self.sums_counts or self.sums_statistics

    @property
    def sums_counts(self) -> bool:
        """Whether the markets' item-item counts are summed."""
        mixed = self.prior.federated and {"federated", "pooled"} & set(self.evaluation.methods)
        return "fedease" in self.evaluation.methods or bool(mixed)

    @property
    def sums_statistics(self) -> bool:
        """Whether the markets' statistics of histories are summed."""
        methods = {"federated", "local_shared_statistics"} & set(self.evaluation.methods)
        return Need.STATISTICS in self.needs and algorithm_of(self).min_count is not None and bool(methods)

    @property
    def algorithms(self) -> dict[str, str]:
        """What is trained in each part of a run; the run itself has no name."""
        return {"": self.algorithm.kind, **({SCORES: self.scores.kind} if self.scores.on else {})}

    @property
    def item_semantics(self) -> str | None:
        """The kind of vectors that items are known by, of the model or of the one whose scores it takes; or None."""
        known = Need.ITEM_VECTORS in self.needs or (self.scores.on and Need.ITEM_VECTORS in self.scoring.needs)
        return self.semantics.kind if known else None

    @property
    def scoring(self) -> "Recipe":
        """The recipe of the model whose scores a ranker takes as a feature; raises :class:`ValueError` for none."""
        scores = self.scores
        if not scores.on:
            raise ValueError("scores.kind: none")
        training = {"epochs", "batch_size", "learning_rate", "weight_decay"}
        rounds = {"rounds", "patience"}
        asked = set(self.evaluation.methods)
        needed = {"federated": {"federated"}, "local": {"local", "local_shared_statistics"}}
        methods = [method for method, of in needed.items() if of & asked]
        return self.model_copy(
            update={
                "scores": ScoresSettings(),
                "algorithm": find("algorithm", scores.kind).Settings(),
                "model": self.model.model_copy(update={"dropout": scores.dropout}),
                "training": self.training.model_copy(
                    update={"schedule": "constant", **{name: getattr(scores, name) for name in training}}
                ),
                "federation": self.federation.model_copy(update={name: getattr(scores, name) for name in rounds}),
                "finetune": self.finetune.model_copy(update={"epochs": scores.finetune_epochs}),
                "evaluation": self.evaluation.model_copy(update={"methods": methods}),
            }
        )

    def resolved(self, every_market_has_families: bool, every_market_has_text: bool) -> "Recipe":
        """Every ``auto`` replaced by what the markets allow, so that all of them do the same.

        Protocol: ``family`` where every market has a family map, else ``temporal``; click-through has its own.
        Semantics: ``hashing`` where items have text, else ``cooccurrence``. Alignment of codes: ``layered`` where items
        have text, else ``gram``, whose semantics are ``cooccurrence`` whatever the items have. Scores: of ``fecosr``
        where its item vectors need no counts and there are neither masks nor privacy, else none.
        """
        protocol, kind, alignment = self.evaluation.protocol, self.semantics.kind, self.codes.alignment
        if protocol == "auto":
            protocol = "ctr" if self.task == "ctr" else "family" if every_market_has_families else "temporal"
        if alignment == "auto":
            counted = kind != "auto" and find("semantics", kind).exchanges
            alignment = "layered" if every_market_has_text and not counted else "gram"
        if kind == "auto":
            text = every_market_has_text and not (self.uses_codes and alignment == "gram")
            kind = "hashing" if text else "cooccurrence"
        scores = self.scores.kind
        if scores == "auto":
            hidden = self.masks.enabled or self.privacy.on
            scores = "none" if find("semantics", kind).exchanges or hidden else "fecosr"
        return self.model_copy(
            update={
                "scores": self.scores.model_copy(update={"kind": scores}),
                "evaluation": self.evaluation.model_copy(update={"protocol": protocol}),
                "semantics": self.semantics.model_copy(update={"kind": kind}),
                "codes": self.codes.model_copy(update={"alignment": alignment}),
            }
        )

    @property
    def validated(self) -> bool:
        """Whether figures of validation decide how many rounds there are: not where rounds are private."""
        return not (self.privacy.on or self.market_privacy.on)
