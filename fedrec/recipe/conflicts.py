"""What no single key shows to be wrong: keys that conflict, each with its remedy."""

from fedrec.components.aggregator import Aggregator
from fedrec.components.algorithm import algorithm_of
from fedrec.components.capability import Capability
from fedrec.components.registry import components, find
from fedrec.recipe.choices import ENCODER, LOSS
from fedrec.recipe.schema import Recipe


def conflict(recipe: Recipe) -> str | None:
    """The keys in conflict, and the remedy; None where all fit together."""
    checks = (_codes_and_clicks, _algorithm, _scores, _aggregation, _general, _privacy, _market_privacy, _masks, _pacer)
    return next((found for check in checks if (found := check(recipe)) is not None), None)


def _codes_and_clicks(recipe: Recipe) -> str | None:
    evaluation, codes, kind = recipe.evaluation, recipe.codes, recipe.semantics.kind
    if (recipe.task == "ctr") != (evaluation.protocol == "ctr") and evaluation.protocol != "auto":
        return (
            f"evaluation.protocol {evaluation.protocol!r} does not fit algorithm.kind {recipe.algorithm.kind!r}; "
            "set it to auto"
        )
    if not codes.global_levels and not codes.local_levels:
        return "codes.global_levels and codes.local_levels are both empty; give one of them a level"
    exchanges = kind != "auto" and find("semantics", kind).exchanges
    if codes.alignment == "gram" and kind != "auto" and not exchanges:
        return f"codes.alignment gram is made of counts, in conflict with semantics.kind {kind!r}; change one"
    counted = codes.alignment == "gram" or (exchanges and codes.alignment != "none")
    if recipe.uses_codes and counted and not codes.share_keys:
        return "codes.share_keys false: counts over item keys are all these markets have in common; share the keys"
    if recipe.uses_codes and not codes.share_keys and (recipe.releases_pairs or recipe.shares_vocabulary):
        return (
            "codes.share_keys false, but keys would leave for a sum of counts (fedease, prior.federated, "
            "semantics of counts) or a common list of items (protocol acmr); share them, or remove that"
        )
    if codes.alignment == "layered" and exchanges:
        return f"codes.alignment layered needs texts; on counts (semantics.kind {kind}) it is called gram"
    return None


def _algorithm(recipe: Recipe) -> str | None:
    algorithm, kind = algorithm_of(recipe), recipe.algorithm.kind
    others = set(recipe.evaluation.methods) - algorithm.methods
    if others:
        return f"evaluation.methods: {', '.join(sorted(others))}: not of algorithm.kind {kind!r}; remove them"
    defaults = {"encoder": ENCODER, "loss": LOSS}
    for noun in sorted(defaults.keys() - algorithm.reads):
        named = getattr(recipe, noun).kind
        if named != defaults[noun]:
            return f"{noun}.kind {named!r}: algorithm.kind {kind!r} has no {noun}; leave it out"
    for wanted, section in (
        (Capability.USER_PRIVACY, recipe.privacy),
        (Capability.MARKET_PRIVACY, recipe.market_privacy),
    ):
        if section.on and wanted not in algorithm.capabilities:
            return (
                f"algorithm.kind {kind!r} has no {wanted.value}; turn it off, or take an algorithm that has "
                "(`fedrec components algorithm`)"
            )
    return algorithm.objection()


def _scores(recipe: Recipe) -> str | None:
    if not recipe.scores.on:
        return None
    if not algorithm_of(recipe).takes_scores:
        return f"scores.kind: algorithm.kind {recipe.algorithm.kind!r} takes no scores of another model; set it to none"
    if recipe.federation.participation < 1:
        return (
            "federation.participation: a model for scores has rounds of its own, with every market; set it to 1, or "
            "scores.kind to none"
        )
    if recipe.privacy.on:
        return "scores.kind: a model for scores has no place in a ranker's epsilon; set it to none, or turn privacy off"
    scoring = recipe.scoring
    if "federated" not in recipe.evaluation.methods and (scoring.uses_codes or scoring.shares_vocabulary):
        return (
            f"scores.kind {recipe.scores.kind!r} needs codes or a list of items that a federation makes; add federated "
            "to evaluation.methods, or set scores.kind to none"
        )
    if scoring.uses_codes and not recipe.codes.share_keys and recipe.releases_pairs:
        return "codes.share_keys false, but keys leave for statistics of pairs; share them, or set scores.kind=fecosr"
    if scoring.sends_keys and recipe.sums_counts and not recipe.sums_statistics and recipe.scores.pairs == "once":
        return (
            "fedease sums pairs of all train rows, and the model for scores those of all but the last ones: their "
            "difference is of single users; remove fedease from evaluation.methods, or set scores.pairs=again"
        )
    found = conflict(scoring)
    return None if found is None else f"scores.kind {recipe.scores.kind!r}: {found}"


def _aggregator(recipe: Recipe) -> type[Aggregator]:
    found: type[Aggregator] = find("aggregator", recipe.aggregator.kind)
    return found


def _aggregation(recipe: Recipe) -> str | None:
    aggregator = _aggregator(recipe)
    objection = aggregator.objection(recipe.aggregator)
    if objection is None and aggregator.local is not None and (recipe.privacy.on or recipe.uses_codes):
        return (
            f"aggregator.kind {recipe.aggregator.kind!r} has a half in every market's loss, which "
            f"{'private steps' if recipe.privacy.on else 'rounds on a codebook'} have no place for; set it to mean"
        )
    return objection


def _privacy(recipe: Recipe) -> str | None:
    if not recipe.privacy.on:
        return None
    federated = "federated" in recipe.evaluation.methods
    if recipe.uses_codes and federated and recipe.codes.alignment in {"semantic", "procrustes", "none"}:
        return (
            f"codes.alignment {recipe.codes.alignment!r} makes codes of single users' vectors, which is not private; "
            "set it to gram or layered"
        )
    if recipe.evaluation.catalogue in {"union", "all"} or recipe.evaluation.protocol == "acmr":
        return (
            "privacy: what leaves goes over the catalogue that a market declares, and chance follows each user; leave "
            "out evaluation.catalogue 'union' and 'all', and protocol 'acmr'"
        )
    if recipe.privacy.reports == "noised" and not recipe.federates:
        return (
            "privacy.reports noised: figures are of the shared sequential model, and this recipe trains none; "
            "set it to withheld or outside"
        )
    if recipe.training.proximal:
        return "training.proximal: a private step has no such term; set it to 0"
    if recipe.fedease.restrict == "after" and recipe.sums_counts:
        return "fedease.restrict 'after' needs counts of all markets in every market; under privacy set it to before"
    return None


def _market_privacy(recipe: Recipe) -> str | None:
    if not recipe.market_privacy.on:
        return None
    if recipe.privacy.on:
        return "market_privacy and privacy: a run keeps one promise, of its users or of its markets; turn one off"
    if recipe.federation.weights != "uniform":
        return "market_privacy: a market may not weigh more than others; set federation.weights=uniform"
    if not _aggregator(recipe).linear:
        return (
            f"market_privacy: noise is for a mean over markets, and aggregator.kind {recipe.aggregator.kind!r} is none "
            "(`fedrec components aggregator`); take one"
        )
    if recipe.uses_codes or recipe.releases_pairs or recipe.shares_vocabulary:
        return (
            "market_privacy covers the shared model alone, but item pairs, codes or keys leave too; choose "
            "item vectors that exchange nothing (semantics.kind=hashing), no fedease, and the market's own catalogue"
        )
    if recipe.masks.enabled or recipe.update.compression != "none" or recipe.update.stages:
        return (
            "market_privacy: the server clips every change itself; set masks.enabled=false, update.compression=none, "
            "update.stages=[]"
        )
    return None


def _masks(recipe: Recipe) -> str | None:
    if not recipe.masks.enabled:
        return None
    if recipe.scores.on:
        return "scores.kind: rounds of a second model do not go with masks; set it to none, or masks.enabled to false"
    if not _aggregator(recipe).linear:
        return (
            f"aggregator.kind {recipe.aggregator.kind!r} looks at every market's numbers, which masks hide; set it to "
            "mean, or another that is made of the mean (`fedrec components aggregator`)"
        )
    if recipe.federation.participation < 1:
        return (
            "federation.participation: sums over changing sets of markets are equations for single ones, so every "
            "market is in every masked sum; set it to 1"
        )
    coding = [one.kind for one in recipe.update.stages if find("stage", one.kind).codes]
    if coding:
        return f"update.stages: what is masked cannot be decoded, and {coding[0]!r} codes it; remove it"
    if recipe.update.compression != "none":
        return f"update.compression {recipe.update.compression!r}: what is masked cannot be compressed; set it to none"
    if recipe.federation.max_share < 1:
        return (
            "federation.max_share: a bound weighs markets otherwise in every other sum, and sums of other weights are "
            "equations for single markets; a masked codebook hides besides how much each adds; set it to 1"
        )
    if recipe.federation.faults.late:
        return "federation.faults.late: an answer to an earlier sum fits no later one; set it to 0"
    return None


def _pacer(recipe: Recipe) -> str | None:
    if not recipe.pacer.on:
        return None
    if recipe.privacy.on or recipe.market_privacy.on or recipe.masks.enabled:
        return "pacer: every market reports how far the model is from its own, outside noise and masks; turn one off"
    if recipe.pacer.scales == "share" and not _aggregator(recipe).linear:
        return f"pacer.scales share: aggregator.kind {recipe.aggregator.kind!r} is no weighted mean; set it to mean"
    if recipe.task == "ctr" or "federated" not in recipe.evaluation.methods:
        return "pacer: paces the rounds of method federated of a sequential model, and this recipe has none; remove it"
    return None


def _general(recipe: Recipe) -> str | None:
    """That of the sequential model, its evaluation and the engine."""
    evaluation = recipe.evaluation
    if evaluation.protocol in {"global-time", "acmr"} and (evaluation.holdout, evaluation.ties) != (
        "item",
        "source",
    ):
        return (
            f"evaluation.holdout {evaluation.holdout!r} and ties {evaluation.ties!r} are for protocols family and "
            f"temporal; remove them or change protocol {evaluation.protocol!r}"
        )
    others = {"acmr": {"union", "all"}, "ctr": {"union"}}.get(evaluation.protocol, set())
    if evaluation.catalogue in others:
        return (
            f"evaluation.catalogue {evaluation.catalogue!r}: protocol {evaluation.protocol!r} says itself what is "
            "ranked; remove it or change the protocol"
        )
    if (evaluation.protocol == "global-time") != (evaluation.cut_date is not None):
        return (
            "evaluation.cut_date: protocol global-time needs a date, and no other takes one "
            "(`fedrec data describe DIR` shows when the interactions lie)"
        )
    model = recipe.text_model
    if model is not None and not find("semantics", recipe.semantics.kind).takes_model:
        return (
            f"semantics.model {model!r}: semantics.kind {recipe.semantics.kind!r} has no model; "
            f"set it to {' or '.join(_with_models())}"
        )
    if recipe.engine.kind != "inline" and recipe.engine.workers:
        return f"engine.workers {recipe.engine.workers}: is for engine inline, not {recipe.engine.kind}; remove one"
    federation = recipe.federation
    deadline = federation.deadline_seconds or federation.stage_deadline_seconds
    if deadline is not None and recipe.engine.kind == "inline" and not recipe.engine.workers:
        return (
            f"federation deadline {deadline:g} s: a client in this process cannot be cut off; "
            "set engine.workers=1 or more, or engine.kind=ray"
        )
    return None


def _with_models() -> list[str]:
    """Kinds of semantics that take a pretrained encoder."""
    return [kind for kind in components("semantics") if find("semantics", kind).takes_model]
