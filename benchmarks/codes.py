"""FedMM-style codes on the seven XMarket markets: click-through on every kind of codes, and what the codes are like.

    python benchmarks/codes.py DATA_DIR [--variant main] [--seeds 0,1,2] [--alignments gram] [--backbones deepfm]
        [--tasks sampled] [--markets all] [--jobs 2] [--set key=value ...]

Each run is one `fedrec run fedmm`. Rows, in benchmarks/results/codes_VARIANT*.csv: per market and method AUC, group
AUC, LogLoss (and ECE of ratings); per market and level perplexity, dead codes and the share of variance explained; per
run how often two markets give a shared item the same common code, by chance and in fact, and bytes; and when all seeds
of a setting are there, federated minus every other method with intervals over users and seeds. A run that has its rows
is skipped, one that was interrupted is resumed.
"""

import argparse
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import results
from results import append_rows, measured, say_complete
from runs import finish, settings
from safetensors.numpy import load_file

from fedrec.data.store import open_stores
from fedrec.files import read_json_lines
from fedrec.metrics.ctr import Predictions
from fedrec.recipe import load_recipe
from fedrec.training.prepared import PreparedMarket

METHODS = "[nocodes, randomcodes, local, federated, pooled]"
METRICS = ("auc", "gauc", "logloss", "ece")
RESAMPLES = 1000
WELL_KNOWN = 5  # interactions in either market
NAME = ("alignment", "backbone", "task", "seed")
Key = tuple[str, str, str, str]  # the values of NAME
PerUser = dict[str, dict[str, np.ndarray]]  # market -> arrays of per_user.safetensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--variant", default="main")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--alignments", default="gram")
    parser.add_argument("--backbones", default="deepfm")
    parser.add_argument("--tasks", default="sampled")
    parser.add_argument("--markets", default="all")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    table = f"codes_{options.variant}"
    work = results.WORK / table
    seeds = options.seeds.split(",")
    lists = (options.alignments.split(","), options.backbones.split(","), options.tasks.split(","))
    grid = list(itertools.product(*lists))
    done = measured(f"{table}_runs", *NAME)
    wanted: list[Key] = [(*setting, seed) for setting in grid for seed in seeds if (*setting, seed) not in done]
    if not wanted:
        say_complete(table)
    with ThreadPoolExecutor(options.jobs) as pool:
        for key, summary in zip(wanted, pool.map(partial(run, options, work), wanted), strict=True):
            record(table, dict(zip(NAME, key, strict=True)), summary, folder_of(work, key), options.data)
    for alignment, backbone, task in grid:
        folders = [folder_of(work, (alignment, backbone, task, seed)) for seed in seeds]
        have = measured(f"{table}_intervals", "alignment", "backbone", "task")
        if len(seeds) > 1 and (alignment, backbone, task) not in have:
            name = {"alignment": alignment, "backbone": backbone, "task": task}
            if all(folder.is_dir() for folder in folders):
                record_intervals(table, name, [per_user(folder) for folder in folders])
            else:
                print(f"{table}, {', '.join(name.values())}: no intervals; its runs are gone, only --renew makes them")
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def folder_of(work: Path, key: Key) -> Path:
    """Where a run lies until its figures are rows."""
    return work / "-".join(key)


def run(options: argparse.Namespace, work: Path, key: Key) -> dict[str, Any]:
    """Summary of one `fedrec run` in a process of its own."""
    alignment, backbone, task, seed = key
    overrides = [f"codes.alignment={alignment}", f"ctr.backbone={backbone}", f"ctr.task={task}"]
    overrides += [f"evaluation.methods={METHODS}", *options.overrides]
    overrides += [] if options.markets == "all" else [f"data.markets=[{options.markets}]"]
    words = ["run", "fedmm", "--data", options.data, "--seed", seed, *settings(overrides)]
    return finish(folder_of(work, key), *words)


def per_user(run: Path) -> PerUser:
    """What every method predicted in every market of a finished run."""
    return {path.parent.name: load_file(path) for path in (run / "markets").glob("*/per_user.safetensors")}


def record(table: str, name: dict[str, str], summary: dict[str, Any], out: Path, data: Path) -> None:
    """Write the run's rows; the row of the run itself comes last and says that all are there."""
    rows = []
    for market, figures in summary["markets"].items():
        for method, metrics in figures["results"].items():
            values = {metric: f"{metrics[metric]:.6f}" if metric in metrics else "" for metric in METRICS}
            rows.append({**name, "market": market, "method": method, **values})
    append_rows(table, rows, NAME)
    lines = read_json_lines(out / "events.jsonl")
    stages = [line for line in lines if line["event"] == "stage_done" and line["action"] == "train.codes"]
    append_rows(
        f"{table}_use",
        [
            {**name, "market": market, "what": what, "value": f"{value:.4f}"}
            for market, scalars in stages[-1]["results"].items()
            for what, value in scalars.items()
            if what != "seconds"
        ],
        NAME,
    )
    rounds = summary["rounds"]
    row = {
        **name,
        **{what: f"{value:.4f}" for what, value in agreement(out, data).items()},
        **{what: f"{value:.4f}" for what, value in purity(out).items()},
        "kilobytes_up": f"{np.mean([entry['bytes_up'] for entry in rounds]) / 1e3:.1f}",
        "kilobytes_down": f"{np.mean([entry['bytes_down'] for entry in rounds]) / 1e3:.1f}",
        "statistics_kilobytes_up": f"{statistics_bytes(out) / len(rounds) / 1e3:.1f}",
        "seconds": round(summary["seconds"]["total"]),
        "peak_rss_mb": round(summary["peak_rss_mb"]),
    }
    print(row, {method: round(metrics["auc"], 4) for method, metrics in summary["mean"].items()}, flush=True)
    append_rows(f"{table}_runs", [row], NAME)


def statistics_bytes(out: Path) -> int:
    """Bytes of counts and sums in all rounds together."""
    entries = read_json_lines(out / "ledger.jsonl")
    return sum(entry["bytes"] for entry in entries if str(entry["name"]).startswith("statistics."))


def agreement(run: Path, data: Path) -> dict[str, float]:
    """How often two markets give a shared item the same common code, and how often by chance at this use of codes.

    Of all shared items, and of those that both markets know well.
    """
    recipe = load_recipe(str(run / "recipe.yaml"))
    size = recipe.codes.global_levels[0]
    codes: dict[str, dict[str, tuple[int, int]]] = {}
    for store in open_stores(data, recipe.data.markets):
        found = load_file(run / "markets" / store.name / "codes-federated.safetensors")["items"][:, 0]
        market = PreparedMarket(store, recipe)
        met = market.train.item_counts().tolist()
        known = zip(market.items, found.tolist(), met, strict=True)
        codes[store.name] = {key: (code, times) for key, code, times in known if code < size}
    result = {}
    for suffix, least in (("", 0), ("_well_known", WELL_KNOWN)):
        equal = chance = pairs = 0.0
        for one, other in itertools.combinations(sorted(codes), 2):
            shared = codes[one].keys() & codes[other].keys()
            both = sorted(key for key in shared if min(codes[one][key][1], codes[other][key][1]) >= least)
            left, right = ([codes[market][key][0] for key in both] for market in (one, other))
            if both:
                shares = [np.bincount(side, minlength=size) / len(both) for side in (left, right)]
                equal += sum(first == second for first, second in zip(left, right, strict=True))
                chance += float(shares[0] @ shares[1]) * len(both)
                pairs += len(both)
        result |= {f"agreement{suffix}": equal / max(pairs, 1), f"chance{suffix}": chance / max(pairs, 1)}
        result[f"pairs{suffix}"] = pairs
    return result


def purity(run: Path) -> dict[str, float]:
    """How often an item's nearest neighbour among the market's own vectors has its common code: in fact, by chance."""
    result = {}
    for method in ("federated", "local", "pooled"):
        same, chance, items = 0.0, 0.0, 0
        for folder in sorted((run / "markets").iterdir()):
            vectors = load_file(folder / "collaborative.safetensors")
            codes = load_file(folder / f"codes-{method}.safetensors")["items"][:, 0]
            known = vectors["known_items"] & (codes < codes.max())  # the largest says that nothing is known
            unit = vectors["items"][known] / np.linalg.norm(vectors["items"][known], axis=1, keepdims=True)
            near = unit @ unit.T - 2 * np.eye(len(unit))
            own = codes[known]
            same += float((own[near.argmax(axis=1)] == own).sum())
            share = np.bincount(own) / len(own)
            chance += float(share @ share) * len(own)
            items += len(own)
        result |= {f"purity_{method}": same / items, f"purity_{method}_chance": chance / items}
    return result


def record_intervals(table: str, name: dict[str, str], seeds: list[PerUser]) -> None:
    """Federated minus every other method per market; users and seeds resampled together."""
    rows = []
    for market in sorted(seeds[0]):
        generator = np.random.default_rng(0)
        users = seeds[0][market]["users"].astype(np.int64)
        members = np.unique(users)
        others = sorted({key.partition(".")[0] for key in seeds[0][market] if "." in key} - {"federated"})
        found = [
            {
                method: Predictions(users, arrays["labels"], arrays[f"{method}.predicted"])
                for method in ("federated", *others)
            }
            for arrays in (seed[market] for seed in seeds)
        ]
        draws: dict[tuple[str, str], list[float]] = {}
        for draw in range(RESAMPLES + 1):  # the first is everything as it is
            chosen = range(len(seeds)) if draw == 0 else generator.integers(len(seeds), size=len(seeds))
            count = np.zeros(int(members[-1]) + 1)
            drawn = members if draw == 0 else generator.choice(members, size=len(members))
            np.add.at(count, drawn, 1.0)
            values = [{m: scores(p, count) for m, p in found[seed].items()} for seed in chosen]
            for other, metric in itertools.product(others, ("auc", "gauc", "logloss")):
                gaps = [value["federated"][metric] - value[other][metric] for value in values]
                draws.setdefault((other, metric), []).append(float(np.mean(gaps)))
        for (other, metric), gaps in draws.items():
            low, high = np.nanquantile(gaps[1:], [0.025, 0.975])
            figures = {"mean": f"{gaps[0]:.6f}", "low": f"{low:.6f}", "high": f"{high:.6f}"}
            rows.append({**name, "seeds": len(seeds), "market": market, "other": other, "metric": metric, **figures})
    append_rows(f"{table}_intervals", rows)


def scores(found: Predictions, count: np.ndarray) -> dict[str, float]:
    groups = found.group_auc
    weights = count[found.users]
    return {"auc": found.auc(weights), "gauc": groups.mean(count[groups.users]), "logloss": found.logloss(weights)}


if __name__ == "__main__":
    main()
