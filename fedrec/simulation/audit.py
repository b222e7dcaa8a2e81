"""``fedrec audit``: what can be learned of a market's users from what leaves it, attack by attack.

Some users of every market are left out by chance before training. Whether an attacker can tell them from those who
took part is measured by people whose attendance a coin decided, so that nothing but what left can tell them apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fedrec.attacks import mechanism
from fedrec.attacks.scores import epsilon_at_least, largest_provable, separation
from fedrec.components.algorithm import goes_with
from fedrec.components.attack import Attack, Finding
from fedrec.components.capability import Capability
from fedrec.components.house import HOUSE
from fedrec.components.registry import find
from fedrec.errors import RunError, UserError
from fedrec.files import write_json
from fedrec.privacy.noise import SECRET_BYTES, SecretNoise
from fedrec.privacy.plan import plan_market
from fedrec.progress import Progress, no_progress
from fedrec.recipe import Recipe
from fedrec.seeds import numpy_generator
from fedrec.simulation.attacks.controls import controls
from fedrec.simulation.attacks.view import MarketView, TooFewError
from fedrec.simulation.replay import Replay, replayed
from fedrec.simulation.run import FinishedRun, open_finished
from fedrec.threads import single_threaded
from fedrec.training.prepared import PreparedMarket

LEFT_OUT = 0.2
_CANARIES = 1000
_KINDS = {True: "the same users, with nothing to compare it by", False: "a run of its own, without those left out"}


def audit(
    path: Path, left_out: float = LEFT_OUT, progress: Progress = no_progress, attacks: Sequence[str] | None = None
) -> dict[str, Any]:
    """Attack a finished run as every observer; writes and returns ``audit.json`` of its folder.

    ``attacks``: names of those that are made; default: all that come with fedrec.
    """
    chosen: list[Attack] = [find("attack", name)() for name in (HOUSE["attack"] if attacks is None else attacks)]
    if not 0 < left_out < 1:
        raise UserError(f"--left-out {left_out:g}: a share of the users between 0 and 1")
    finished = open_finished(path)
    recipe = finished.recipe
    if not (recipe.releases_pairs or "federated" in recipe.evaluation.methods):
        raise UserError(f"{path}: none of its methods sends anything; audit a run of federated or fedease")
    trained = "federated" in recipe.evaluation.methods
    if trained and not goes_with(recipe.algorithm.kind, Capability.AUDIT):
        raise UserError(
            f"{path}: no attack reads the model of algorithm.kind {recipe.algorithm.kind!r}; "
            "`fedrec components algorithm` says which go with audit"
        )
    if trained and recipe.task == "sequential" and find("encoder", recipe.encoder.kind).bidirectional:
        raise UserError(
            f"{path}: the attacks ask for the next item at every place, and encoder.kind "
            f"{recipe.encoder.kind!r} looks both ways; audit a run of another encoder"
        )
    if finished.run.read_manifest()["start_from"]:
        raise UserError(f"{path}: adapts a model that others trained, and sends nothing; audit the run that trained it")
    if finished.run.warm_start.is_dir():
        raise UserError(
            f"{path}: began with a model that may know the users whom an audit leaves out; audit a run without it"
        )
    if recipe.federation.faults.dropout or recipe.federation.faults.late:
        raise UserError(f"{path}: federation.faults cannot be replayed; audit a run without simulated faults")
    progress("replaying the run")
    with single_threaded(), replayed(finished, left_out) as replay:
        if replay.identical is False:
            raise RunError(f"{path}: its replay differs; use the version, device and folder name that made it")
        findings: list[Finding] = []
        skipped: dict[str, str] = {}
        for market in _markets(finished, replay, progress):
            try:
                findings += _found(market, chosen)
            except TooFewError as error:
                skipped[market.name] = str(error)
        progress("auditing the noise")
        result = {
            "users_left_out": 1 - replay.recipe.data.user_share,
            "replay": "identical to the run" if replay.identical else _KINDS[finished.recipe.data.user_share < 1],
            "masked": recipe.masks.enabled,
            "skipped": skipped,
            "findings": [asdict(finding) for finding in findings],
            "mechanism": _mechanism(replay.recipe, finished),
        }
    write_json(path / "audit.json", result)
    return result


def _found(market: MarketView, attacks: Sequence[Attack]) -> Iterator[Finding]:
    """Of one market, as far as there is something to look at; of a part of the run the findings say so."""
    part = market.replay.nodes[market.name].part
    for attack in attacks:
        if attack.needs <= market.observed:
            for finding in attack.findings(market):
                yield replace(finding, by=f"{finding.by} ({part})") if part else finding
    yield from [] if part else controls(market)


def _markets(finished: FinishedRun, replay: Replay, progress: Progress) -> Iterator[MarketView]:
    """Every market of the run, and of the part of it that trained a model for scores."""
    smallest = min(finished.stores, key=lambda store: (store.users, store.name)).name
    for part in filter(None, (replay, replay.scores)):
        everyone = {store.name: _everyone(part, store.name) for store in finished.stores}
        for name in sorted(everyone):
            progress(f"attacking {name}")
            yield MarketView(part, name, everyone, smallest=name == smallest)


def _everyone(replay: Replay, name: str) -> PreparedMarket:
    """The market as if nobody had been left out."""
    node = replay.nodes[name]
    whole = replay.recipe.model_copy(update={"data": replay.recipe.data.model_copy(update={"user_share": 1.0})})
    return replace(node.prepare(replay.recipe), recipe=whole)


def _mechanism(recipe: Recipe, finished: FinishedRun) -> dict[str, Any] | None:
    """The one-run audit of the noise, under the plan of the market with the largest epsilon; None without privacy."""
    if not recipe.privacy.on:
        return None
    plan = mechanism.planned([plan_market(recipe, store.users) for store in finished.stores])
    if not plan.releases:
        return None  # nothing is noised: what leaves is made of texts alone
    generator = numpy_generator(recipe.seed, "audit", "mechanism")
    coins = mechanism.fair_coins(_CANARIES, generator)
    noise = SecretNoise(generator.bytes(SECRET_BYTES), "audit")
    scores = mechanism.canary_scores(plan, recipe.privacy.clip_norm, coins, noise)
    found = separation(scores, coins)
    return {
        "canaries": _CANARIES,
        "auc": found.auc,
        "epsilon_at_least": epsilon_at_least(scores, coins, plan.delta),
        "epsilon_stated": plan.epsilon,
        "provable": largest_provable(_CANARIES, plan.delta),
    }
