"""``fedrec audit``: what can be learned of a market's users from what leaves it, attack by attack.

Some users of every market are left out by chance before training. Whether an attacker can tell them from those who
took part is measured by people whose attendance a coin decided, so that nothing but what left can tell them apart.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedrec.attacks import mechanism
from fedrec.attacks.scores import epsilon_at_least, largest_provable, separation
from fedrec.errors import RunError, UserError
from fedrec.files import write_json
from fedrec.privacy.noise import SECRET_BYTES, SecretNoise
from fedrec.privacy.plan import plan_market
from fedrec.recipe import Recipe
from fedrec.seeds import numpy_generator
from fedrec.simulation.market_attacks import Finding, MarketAttacks, TooFewError
from fedrec.simulation.replay import Replay, replayed
from fedrec.simulation.run import FinishedRun, open_finished
from fedrec.tell import Tell, silent
from fedrec.threads import single_threaded
from fedrec.training.prepared import PreparedMarket

LEFT_OUT = 0.2
_CANARIES = 1000
_KINDS = {True: "the same users, with nothing to compare it by", False: "a run of its own, without those left out"}


def audit(path: Path, left_out: float = LEFT_OUT, tell: Tell = silent) -> dict[str, Any]:
    """Attack a finished run as every observer; writes and returns ``audit.json`` of its folder."""
    if not 0 < left_out < 1:
        raise UserError(f"--left-out {left_out:g}: a share of the users between 0 and 1")
    finished = open_finished(path)
    recipe = finished.recipe
    if not (recipe.releases_pairs or "federated" in recipe.evaluation.methods):
        raise UserError(f"{path}: none of its methods sends anything; audit a run of federated or fedease")
    if recipe.model.kind == "acmr":
        raise UserError(f"{path}: the attacks are written for model.kind fecosr; audit a run of that kind")
    if finished.run.read_manifest()["start_from"]:
        raise UserError(f"{path}: adapts a model that others trained, and sends nothing; audit the run that trained it")
    if finished.run.warm_start.is_dir():
        raise UserError(
            f"{path}: began with a model that may know the users whom an audit leaves out; audit a run without it"
        )
    if recipe.federation.faults.dropout or recipe.federation.faults.late:
        raise UserError(f"{path}: federation.faults cannot be replayed; audit a run without simulated faults")
    tell("replaying the run")
    with single_threaded(), replayed(finished, left_out) as replay:
        if replay.identical is False:
            raise RunError(f"{path}: its replay differs; use the version, device and folder name that made it")
        findings: list[Finding] = []
        skipped: dict[str, str] = {}
        for market in _markets(finished, replay, tell):
            try:
                findings += list(market.findings())
            except TooFewError as error:
                skipped[market.name] = str(error)
        tell("auditing the noise")
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


def _markets(finished: FinishedRun, replay: Replay, tell: Tell) -> Iterator[MarketAttacks]:
    smallest = min(finished.stores, key=lambda store: (store.users, store.name)).name
    everyone = {store.name: _everyone(replay, store.name) for store in finished.stores}
    for name in sorted(everyone):
        tell(f"attacking {name}")
        yield MarketAttacks(replay, name, everyone, overfit=name == smallest)


def _everyone(replay: Replay, name: str) -> PreparedMarket:
    """The market as if nobody had been left out."""
    node = replay.nodes[name]
    vocabulary = node.prepare(replay.recipe).vocabulary
    whole = replay.recipe.model_copy(update={"data": replay.recipe.data.model_copy(update={"user_share": 1.0})})
    return PreparedMarket(node.store, whole, vocabulary, node.draws(whole))


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
