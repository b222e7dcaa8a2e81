"""What no single key shows to be wrong: keys that are at odds with each other, each with its remedy."""

from fedrec.components.registry import find
from fedrec.recipe.schema import Recipe
from fedrec.recipe.settings import CTR_METHODS, TEXT_KINDS


def contradiction(recipe: Recipe) -> str | None:
    """The keys at odds, and the remedy; None where all fit together."""
    checks = (_codes_and_clicks, _encoder, _general, _privacy, _market_privacy, _masks, _acmr, _pacer)
    return next((found for check in checks if (found := check(recipe)) is not None), None)


def _codes_and_clicks(recipe: Recipe) -> str | None:
    evaluation, codes, kind = recipe.evaluation, recipe.codes, recipe.semantics.kind
    if (recipe.task == "ctr") != (evaluation.protocol == "ctr") and evaluation.protocol != "auto":
        return f"evaluation.protocol {evaluation.protocol!r} does not fit task {recipe.task!r}; set it to auto"
    others = set(evaluation.methods) - CTR_METHODS if recipe.task == "ctr" else set()
    if others:
        return f"evaluation.methods: {', '.join(sorted(others))}: not of task 'ctr'; remove them"
    codes_methods = {"nocodes", "randomcodes"} & set(evaluation.methods)
    if recipe.task == "sequential" and recipe.model.items != "codes" and codes_methods:
        return f"evaluation.methods: {', '.join(sorted(codes_methods))}: only with model.items=codes; remove them"
    if recipe.model.items == "codes" and "local_shared_semantics" in evaluation.methods:
        return "evaluation.methods: local_shared_semantics is not of model.items 'codes'; remove it"
    if recipe.model.items == "codes" and not codes.global_levels:
        return "codes.global_levels is empty: model.items 'codes' shares the embeddings of its codes; give it one"
    if not codes.global_levels and not codes.local_levels:
        return "codes.global_levels and codes.local_levels are both empty; give one of them a level"
    if codes.alignment == "gram" and kind in TEXT_KINDS:
        return f"codes.alignment gram is made of counts, at odds with semantics.kind {kind!r}; change one"
    counted = codes.alignment == "gram" or (kind == "cooccurrence" and codes.alignment != "none")
    if recipe.uses_codes and counted and not codes.share_keys:
        return "codes.share_keys false: counts over item keys are all these markets have in common; share the keys"
    if recipe.uses_codes and not codes.share_keys and (recipe.releases_pairs or recipe.shares_vocabulary):
        return (
            "codes.share_keys false, but keys would leave for a sum of counts (fedease, prior.federated, "
            "semantics.kind cooccurrence) or a common list of items (protocol acmr); share them, or remove that"
        )
    if codes.alignment == "layered" and kind == "cooccurrence":
        return "codes.alignment layered needs texts; on counts (semantics.kind cooccurrence) it is called gram"
    return None


def _encoder(recipe: Recipe) -> str | None:
    if recipe.model.kind == "acmr":
        return None
    from fedrec.components.encoder import Capability, EncoderSizes  # with torch, which naming keys does not need

    encoder, model = find("encoder", recipe.encoder.kind), recipe.model
    objection: str | None = encoder.objection(
        recipe.encoder, EncoderSizes(model.dimension, model.dropout, model.maximum_length)
    )
    if objection is not None:
        return objection
    if recipe.privacy.on and recipe.federates and Capability.USER_PRIVACY not in encoder.capabilities:
        return (
            f"encoder.kind {recipe.encoder.kind!r} cannot keep one user's part of a step apart from the others'; "
            "take one that can (`fedrec components encoder`), or turn privacy off"
        )
    return None


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
    if recipe.federation.weights != "uniform" or recipe.federation.aggregation != "mean":
        return (
            "market_privacy: a market may not weigh more than others; set federation.weights=uniform and "
            "federation.aggregation=mean"
        )
    if recipe.uses_codes or recipe.releases_pairs:
        return (
            "market_privacy covers the shared model alone, but item pairs or codes leave too; choose item vectors "
            "that exchange nothing (semantics.kind=hashing) and no fedease"
        )
    if recipe.masks.enabled or recipe.update.compression != "none":
        return "market_privacy: the server clips every change itself; set masks.enabled=false, update.compression=none"
    return None


def _masks(recipe: Recipe) -> str | None:
    if not recipe.masks.enabled:
        return None
    if recipe.federation.aggregation != "mean":
        return (
            f"federation.aggregation {recipe.federation.aggregation!r} looks at every market's numbers, which masks "
            "hide; set it to mean"
        )
    if recipe.federation.participation < 1:
        return (
            "federation.participation: sums over changing sets of markets are equations for single ones, so every "
            "market is in every masked sum; set it to 1"
        )
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


def _acmr(recipe: Recipe) -> str | None:
    if recipe.model.kind != "acmr":
        return None
    if recipe.task != "sequential" or recipe.model.items == "codes":
        return "model.kind acmr knows items by their keys alone; set task=sequential and model.items=semantics"
    if "local_shared_semantics" in recipe.evaluation.methods:
        return "evaluation.methods: local_shared_semantics: model.kind acmr uses no semantics; remove it"
    if recipe.privacy.on or recipe.market_privacy.on:
        return "model.kind acmr has no private steps (its item table shows what a market sells); turn privacy off"
    return None


def _pacer(recipe: Recipe) -> str | None:
    if not recipe.pacer.on:
        return None
    if recipe.privacy.on or recipe.market_privacy.on or recipe.masks.enabled:
        return "pacer: every market reports how far the model is from its own, outside noise and masks; turn one off"
    if recipe.pacer.scales == "share" and recipe.federation.aggregation != "mean":
        return f"pacer.scales share: federation.aggregation {recipe.federation.aggregation!r} has no weights; use mean"
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
    if recipe.semantics.model is not None and recipe.semantics.kind not in {"model2vec", "sentence-transformers"}:
        return (
            f"semantics.model {recipe.semantics.model!r}: semantics.kind {recipe.semantics.kind!r} has no model; "
            "set it to model2vec or sentence-transformers"
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
