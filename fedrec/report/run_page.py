"""``report.html`` of a run: what was asked, what came of it, what it cost, what left, and how to do it again."""

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedrec.files import read_json, read_json_lines, reading, write_atomic
from fedrec.recipe import HEADLINES, Recipe, load_recipe
from fedrec.report.contributions import Effect, contributions_figure, read_table
from fedrec.report.figures import Figure, write_figures
from fedrec.report.html import page, size
from fedrec.report.ledger import by_action, collect, flags
from fedrec.report.run_figures import (
    CodeUse,
    ItemMap,
    attendance_figure,
    codes_figure,
    convergence_figure,
    gain_figure,
    item_map_figure,
    results_figure,
    rounds_figure,
)
from fedrec.report.tables import METHODS, Row, differences_table, privacy_lines, results_table
from fedrec.report.words import answer, headline_method, headline_metric, method_words, remarks
from fedrec.runs.folder import RunFolder
from fedrec.runs.manifest import leaves
from fedrec.strict_yaml import dump_yaml

PAGE, FIGURES = "report.html", "figures"
_RECONSTRUCTED = {
    "fecosr": "FeCoSR-style",
    "fedmm": "FedMM-style",
    "codes": "FedMM-style codes",
    "acmr": "ACMR in a federation",
}


@dataclass(frozen=True)
class Seen:
    """What only the machine that holds the data can add to a page."""

    items: ItemMap | None = None
    codes: Sequence[CodeUse] = field(default=())


@dataclass(frozen=True)
class Table:
    """A table of a page."""

    header: Row
    rows: Sequence[Row]
    caption: str
    title: str = ""


def write_run_page(run: RunFolder, seen: Seen | None = None) -> Path:
    """Write ``report.html`` and ``figures/``; returns the page. Raises :class:`UserError` for an unfinished run."""
    summary, manifest = run.read_summary(), run.read_manifest()
    recipe = load_recipe(str(run.path / "recipe.yaml"))
    events = read_json_lines(run.events)
    metric = headline_metric(summary)
    seen = seen or Seen()
    with reading(run.events):
        figures = _figures(summary, events, metric, seen, read_table(run.path))
        subtitle = _subtitle(summary, events)
    write_figures(run.path / FIGURES, [figure for figure in figures.values() if figure is not None])
    text = page(
        "run",
        name=run.path.resolve().name,
        path=run.path,
        subtitle=subtitle,
        sections=_sections(figures),
        answer=answer(summary, metric),
        remarks=remarks(summary, metric),
        asked=_asked(summary, recipe),
        figures=figures,
        results=_results(summary, metric) if summary["mean"] else None,
        differences=list(_differences(summary, metric)),
        metrics=_metrics(summary),
        attendance=_attendance(summary),
        codes=_codes(seen.codes),
        traffic=_traffic(summary),
        **_ledger(run, recipe),
        privacy=_privacy(summary, recipe),
        command=_command(run, recipe, manifest),
        commit=manifest["commit"],
        versions=_versions(manifest, summary),
        recipe=dump_yaml(recipe.model_dump(mode="json")),
        version=manifest["versions"].get("fedrec", "unknown"),
        reconstructed=_RECONSTRUCTED.get(recipe.name),
    )
    path = run.path / PAGE
    write_atomic(path, text.encode())
    return path


def _figures(
    summary: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    metric: str,
    seen: Seen,
    effects: Sequence[Effect],
) -> dict[str, Figure | None]:
    rounds, markets = summary["rounds"], list(summary["markets"])
    validated = {
        (one["stage"], one["round"]): one.get("validated", one.get("judged"))
        for one in events
        if one["event"] == "round"
    }
    best = next((one["best_round"] for one in reversed(events) if one["event"] == "pretrained"), None)
    told = [{**one, "validated": validated.get((one["stage"], one["round"]), one["round"] - 1)} for one in rounds]
    told += [  # what the last round made is validated after it
        {"stage": one["stage"], "validated": one["round"], "validation_before": one["validation"], "drift": None}
        for one in events
        if one["event"] == "validated" and "stage" in one
    ]
    headline = headline_method(summary, metric)
    other = "local" if headline == "federated" else "ease"
    return {
        "results": results_figure(summary, metric) if summary["mean"] else None,
        "gain": gain_figure(summary, metric, headline, other) if headline else None,
        "contributions": contributions_figure(effects) if effects else None,
        "convergence": convergence_figure(told, best),
        "rounds": rounds_figure(rounds),
        "attendance": attendance_figure(rounds, markets) if rounds else None,
        "items": item_map_figure(seen.items) if seen.items else None,
        "codes": codes_figure(seen.codes) if seen.codes else None,
    }


def _sections(figures: Mapping[str, Figure | None]) -> list[tuple[str, str]]:
    training = figures["convergence"] or figures["rounds"]
    items = figures["items"] or figures["codes"]
    return [
        ("asked", "What was asked"),
        ("results", "Results"),
        *([("training", "Training")] if training else []),
        *([("items", "Items")] if items else []),
        ("left", "What left the markets"),
        ("privacy", "Privacy"),
        ("reproduce", "Reproduce"),
    ]


def _subtitle(summary: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    ended = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(events[-1]["time"])) if events else ""
    return (
        f"{summary['recipe']} on {summary['dataset']}, {len(summary['markets'])} markets, protocol "
        f"{summary['protocol']}, seed {summary['seed']}. {ended}"
    )


def _asked(summary: Mapping[str, Any], recipe: Recipe) -> list[tuple[str, str]]:
    rows = [
        ("recipe", recipe.name),
        ("data", f"{summary['dataset']}: {', '.join(summary['markets'])}"),
        ("protocol", summary["protocol"]),
        ("methods", ", ".join(recipe.evaluation.methods)),
        ("engine", f"{summary['engine']}, device {summary['device']}"),
        ("seed", str(summary["seed"])),
    ]
    if summary["semantics"]:
        rows.insert(3, ("item semantics", summary["semantics"]))
    if summary["rounds"]:
        federation = recipe.federation
        how = f"aggregator {recipe.aggregator.kind}, participation {federation.participation:g}"
        rows.append(("rounds", f"{len(summary['rounds'])}; {how}"))
    return rows


def _results(summary: Mapping[str, Any], metric: str) -> Table:
    header, rows = results_table(summary, metric)
    # What the run is about comes first: what is wider than the window has to be scrolled to.
    methods = [place for place, name in enumerate(header) if name not in {"market", "users", "gain", "interval"}]
    order = [place for place in range(len(header)) if place not in methods] + methods[::-1]
    caption = f"{metric.upper()} per market. users: those tested"
    caption += ". gain: federated minus local, with its 95 % interval" if "gain" in header else ""
    caption += (
        ". (no prior): the model without the market's own item-item prior"
        if any("(no prior)" in name for name in header)
        else ""
    )
    first, *others = ([line[place] for place in order] for line in (header, *rows))
    return Table(first, others, caption)


def _differences(summary: Mapping[str, Any], metric: str) -> Sequence[Table]:
    tables = []
    for method in HEADLINES:
        header, rows = differences_table(summary, method, metric)
        if rows:
            title = f"{metric.upper()}: {method_words(method)} minus every other method"
            caption = "Mean difference per user with its 95 % bootstrap interval; * where the interval excludes zero"
            tables.append(Table(header, rows, caption, title))
    return tables


def _metrics(summary: Mapping[str, Any]) -> Table:
    mean = summary["mean"]
    names = sorted({name for metrics in mean.values() for name in metrics})
    rows = [
        [method_words(method), *(f"{mean[method][name]:.4f}" if name in mean[method] else "" for name in names)]
        for method in METHODS
        if method in mean
    ]
    return Table(["method", *names], rows, "Unweighted means over markets")


def _attendance(summary: Mapping[str, Any]) -> str:
    missed: dict[str, list[str]] = {}
    for record in summary["rounds"]:
        for one in record["rejected"]:
            missed.setdefault(one["market"], []).append(f"round {record['round']}: {one['reason']}")
    if not missed:
        return "Nobody dropped out: every reply that was asked for came, and was used."
    return (
        "Replies not used: "
        + "; ".join(f"{market} {len(reasons)} ({reasons[0]})" for market, reasons in sorted(missed.items()))
        + "."
    )


def _codes(use: Sequence[CodeUse]) -> Table | None:
    if not use:
        return None
    markets = list(use[0].counts)
    rows = [
        [f"level {one.level}", *(f"{int((one.counts[name] > 0).sum())} of {len(one.counts[name])}" for name in markets)]
        for one in use
    ]
    return Table(["codes in use", *markets], rows, "Codes in use, per common level and market")


def _traffic(summary: Mapping[str, Any]) -> str:
    up, down = (size(summary["bytes"][way]) for way in ("up", "down"))
    seconds = summary["seconds"]
    stages = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items() if name != "total")
    return (
        f"{up} left the markets, {down} came to them, in {seconds['total']:.0f} s ({stages}); "
        f"peak memory {summary['peak_rss_mb']:.0f} MB."
    )


def _ledger(run: RunFolder, recipe: Recipe) -> dict[str, Any]:
    path = run.path / "ledger.jsonl"
    if not path.is_file():
        return {"ledger": None, "flags": []}
    with reading(path):
        lines = collect(read_json_lines(path), recipe.algorithms)
    markets, table = by_action(lines)
    rows = [[action, *(size(found[market]) for market in markets)] for action, found in table]
    caption = "Bytes by question and market, from the egress ledger"
    return {
        "ledger": Table(["in answer to", *markets], rows, caption),
        "flags": flags(lines, recipe.privacy.on),
    }


def _privacy(summary: Mapping[str, Any], recipe: Recipe) -> list[str]:
    found = [line.removeprefix("privacy: ").capitalize() + "." for line in privacy_lines(summary)]
    if not found:
        found.append(
            "No interaction left a market. But no noise was added: what did leave is exact, and nothing bounds what "
            "somebody who sees it may learn. What attacks can tell from it: fedrec audit RUN."
        )
    fewest = min(market.get("min_users", 1) for market in summary["markets"].values())
    found.append(
        f"Every market refused what would leave fewer than {fewest} users to train, validate or test on (min-users)."
        if fewest > 1
        else "No market had a floor of users behind what leaves it: min-users was 1, as in every simulation. A recipe "
        "that leaves one user (a tiny data.user_share) then learns of that one."
    )
    if recipe.masks.enabled:
        found.append("Sums were masked: the coordinator saw no single market's arrays, only their sum.")
    return found


def _command(run: RunFolder, recipe: Recipe, manifest: Mapping[str, Any]) -> str:
    place, folder = run.path.resolve(), manifest["data"]["folder"]
    if manifest["start_from"]:
        return shlex.join(["fedrec", "adapt", manifest["start_from"], folder, *_adapted(recipe, manifest)])
    words = ["fedrec", "run", str(place / "recipe.yaml")]
    if run.warm_start.is_dir():
        words += ["--warm-start", str(place / run.warm_start.name)]
    if folder is not None:
        words += ["--data", folder]
    if manifest["deployment"] is not None:
        words += ["--connection", str(manifest["deployment"].get("connection", "CONNECTION"))]
    return shlex.join([*words, "--out", f"{place}-again"])


def _adapted(recipe: Recipe, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What an adaptation was given besides, where the model that it began with is still there."""
    model = Path(manifest["start_from"]) / "model.json"
    if not model.is_file():
        return
    began = dict(leaves(read_json(model)["recipe"]))
    sections = ("training.", "finetune.", "prior.", "ease.", "itemknn.", "evaluation.")
    for key, value in leaves(manifest["recipe"]):
        if key.startswith(sections) and value != began.get(key) and key != "prior.federated":
            yield from ("--set", f"{key}={json.dumps(value)}")


def _versions(manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    hashes = manifest["data"]["hashes"]
    return [
        *sorted(manifest["versions"].items()),
        ("platform", manifest["platform"]),
        ("device", summary["device"]),
        *((f"data of {market}", digest) for market, digest in sorted(hashes.items())),
    ]
