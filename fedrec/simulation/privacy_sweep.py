"""``fedrec sweep privacy``: one recipe at several epsilons, each run attacked; what was bought, and what it cost."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedrec.errors import UserError
from fedrec.files import read_json, reading
from fedrec.progress import Progress, no_progress
from fedrec.recipe import load_recipe
from fedrec.report.audit import headline, strongest
from fedrec.report.tradeoff import write_tradeoff
from fedrec.simulation.attacks.view import CODES, INTERACTION, ITEM_SET, SEQUENCE, USER
from fedrec.simulation.audit import audit
from fedrec.simulation.sweep import Done, Point, sweep

_SENDING = ("federated", "fedease")
_BASELINES = "baselines"  # the run of all that epsilon does not touch


def sweep_privacy(
    reference: str,
    epsilons: Sequence[float],
    seeds: int,
    overrides: Sequence[str],
    data: Path | None,
    out: Path,
    left_out: float,
    progress: Progress,
    details: Progress = no_progress,
    jobs: int = 1,
) -> Path:
    """Run, attack, tabulate; returns the page. ``epsilons`` may hold infinity, which is no noise at all.

    ``jobs``, ``progress`` and ``details`` as in :func:`fedrec.simulation.sweep.sweep`; attacks come one by one.

    Users left out of training, a share ``left_out``, are the ones that membership is told from; they are tested too.
    """
    if len(set(epsilons)) < len(epsilons) or not all(value > 0 for value in epsilons):
        raise UserError(f"--epsilon {','.join(map(str, epsilons))}: positive numbers or inf, each once")
    if not 0 < left_out < 1:
        raise UserError(f"--left-out {left_out:g}: a share of the users between 0 and 1")
    recipe = load_recipe(reference, overrides)
    if recipe.privacy.on:
        raise UserError("privacy.epsilon, privacy.noise_multiplier: are what the sweep sets; leave them out")
    if any(override.startswith("privacy.reports=") for override in overrides):
        raise UserError("privacy.reports: a sweep compares figures of test users, so it sets outside; leave it out")
    progress("privacy.reports is set to outside: a sweep compares figures of test users, rounded, beside epsilon")
    methods = recipe.evaluation.methods
    sending = [method for method in methods if method in _SENDING]
    if not sending:
        raise UserError(f"evaluation.methods {methods}: none of them sends anything; add federated or fedease")
    share = f"data.user_share={1 - left_out:g}"
    points: list[Point] = []
    baselines = [method for method in methods if method not in sending and method != "pooled"]
    if baselines:
        points.append(Point(_BASELINES, (f"evaluation.methods=[{', '.join(baselines)}]", share)))
    for value in sorted(epsilons, reverse=True):
        changes = [f"evaluation.methods=[{', '.join(sending)}]", share]
        changes += [f"privacy.epsilon={value:g}", "privacy.reports=outside"] if math.isfinite(value) else []
        points.append(Point(f"epsilon-{value:g}", tuple(changes)))
    rows: list[dict[str, Any]] = []
    known: dict[str, dict[str, float]] = {}
    for done in sweep(reference, points, seeds, overrides, data, out, progress, details, jobs):
        if done.point.label == _BASELINES:
            known = {market: _accuracy(done, market) for market in done.summary["markets"]}
            continue
        path = done.run.path / "audit.json"
        if not path.is_file():
            audit(done.run.path, left_out, details)
        audited = read_json(path)
        with reading(path):
            rows += _rows(done, audited, known)
        write_tradeoff(out, recipe.name, rows, done.summary["privacy"])
    return out / "index.html"


def _accuracy(done: Done, market: str) -> dict[str, float]:
    """The headline figure of every method in one market."""
    metric = _metric(done)
    results = done.summary["markets"][market]["results"]
    return {method: values[metric] for method, values in results.items() if metric in values}


def _metric(done: Done) -> str:
    return "auc" if done.summary["protocol"] == "ctr" else "ndcg@10"


def _rows(done: Done, audited: dict[str, Any], baselines: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """One row a market of a run; ``baselines``: what no noise touches, by market."""
    summary = done.summary
    epsilon = float(done.point.label.removeprefix("epsilon-"))
    users, interactions = strongest(audited, USER), strongest(audited, INTERACTION)
    rows = []
    for market, figures in summary["markets"].items():
        findings = [found for found in audited["findings"] if found["market"] == market and not found["control"]]
        rows.append(
            {
                "epsilon": epsilon,
                "seed": done.seed,
                "market": market,
                "users": figures["users"],
                "metric": _metric(done),
                **baselines.get(market, {}),
                **_accuracy(done, market),
                "user_membership_auc": users.get(market),
                "user_membership_tpr": _best(findings, USER, "tpr at 1% fpr"),
                "interaction_membership_auc": interactions.get(market),
                "best_sellers_precision": _best(findings, ITEM_SET, headline(ITEM_SET)[0]),
                "best_sellers_by_popularity": _best(findings, ITEM_SET, headline(ITEM_SET)[1]),
                "user_items_recall": _best(findings, SEQUENCE, headline(SEQUENCE)[0]),
                "code_inversion": _best(findings, CODES, headline(CODES)[0]),
                "epsilon_at_least": (audited["mechanism"] or {}).get("epsilon_at_least"),
                "rounds": len(summary["rounds"]),
                "megabytes_up": summary["bytes"]["up"] / 1e6,
                "seconds": summary["seconds"]["total"],
            }
        )
    return rows


def _best(findings: list[dict[str, Any]], attack: str, figure: str) -> float | None:
    """The highest figure of an attack, whoever sees it."""
    return max((found["figures"][figure] for found in findings if found["attack"] == attack), default=None)
