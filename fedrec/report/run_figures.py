"""The figures of one run, each with its data and the words for who cannot see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fedrec.report.figures import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    RED,
    TEAL,
    Cell,
    Figure,
    look,
)
from fedrec.report.tables import common_means
from fedrec.report.words import lower_is_better, method_words

Summary = Mapping[str, Any]
_LOOKS = {  # colour and marker of a method
    "federated": (BLUE, "o"),
    "fedease": (TEAL, "D"),
    "local": (BROWN, "s"),
    "local_shared_semantics": (BROWN, "v"),
    "local_shared_statistics": (BROWN, "^"),
    "pooled": (GREEN, "^"),
    "popularity": (GREY, "x"),
    "itemknn": (GREY, "+"),
    "ease": (ORANGE, "P"),
    "prior": (PURPLE, "d"),
    "nocodes": (RED, "v"),
    "randomcodes": (GREY, "*"),
}
_ROW = 0.3  # inches a market


@dataclass(frozen=True)
class ItemMap:
    """Items of all markets in two dimensions: what the finished models make of them."""

    markets: Sequence[str]  # of every point
    places: NDArray[np.floating]  # [N, 2]
    explained: float  # share of the variance that two dimensions hold


@dataclass(frozen=True)
class CodeUse:
    """How many of its items each market has under each code of one common level."""

    level: int  # from 1
    counts: Mapping[str, NDArray[np.integer]]  # market: [codes]


def results_figure(summary: Summary, metric: str) -> Figure:
    """Every method in every market."""
    means = {name: mean for name, mean in common_means(summary, metric)[0].items() if name in _LOOKS}
    methods = list(means)
    markets = list(summary["markets"])
    rows: list[list[Cell]] = [
        [name, *(summary["markets"][name]["results"].get(method, {}).get(metric) for method in methods)]
        for name in markets
    ]
    rows.append(["mean", *means.values()])
    ranked = sorted(methods, key=lambda name: means[name], reverse=not lower_is_better(metric))
    listed = ", ".join(f"{method_words(name)} {means[name]:.4f}" for name in ranked)

    def draw(canvas: Canvas) -> None:
        axis = canvas.subplots()
        for column, method in enumerate(methods, start=1):
            colour, marker = _LOOKS[method]
            known = [(float(row[column]), place) for place, row in enumerate(rows) if row[column] is not None]  # type: ignore[arg-type]
            label = method_words(method)
            axis.plot(*zip(*known, strict=True), marker, color=colour, label=label, markersize=5, alpha=0.85)
        _markets_down(axis, [str(row[0]) for row in rows])
        axis.axhline(len(rows) - 1.5, color=QUIET, linewidth=0.6)
        axis.set_xlabel(metric.upper())
        canvas.legend(loc="outside upper left", ncols=4, handletextpad=0.1, columnspacing=0.8)

    return Figure(
        "results",
        f"{metric.upper()} of every method in every market",
        f"Means over markets, best first: {listed}.",
        ["market", *methods],
        rows,
        draw,
        height=1.3 + _ROW * len(rows),
        note="Models as they are used, the market's item prior mixed in; the table has them without it too."
        if any(name.endswith("_without_prior") for name in summary["mean"])
        else "",
    )


def gain_figure(summary: Summary, metric: str, method: str, other: str) -> Figure | None:
    """What one method gains over another in each market, with intervals; None where they were not compared."""
    found = {
        market: figures["differences"].get(method, {}).get(other, {}).get(metric)
        for market, figures in summary["markets"].items()
    }
    known = {market: interval for market, interval in found.items() if interval is not None}
    if not known:
        return None
    rows: list[list[Cell]] = [
        [market, *(one[part] for part in ("mean", "low", "high"))] for market, one in known.items()
    ]
    told = "; ".join(
        f"{m}: {one['mean']:+.4f}, from {one['low']:+.4f} to {one['high']:+.4f}" for m, one in known.items()
    )

    def draw(canvas: Canvas) -> None:
        axis = canvas.subplots()
        axis.axvline(0, color=QUIET, linewidth=0.8)
        for place, one in enumerate(known.values()):
            sure = one["low"] > 0 or one["high"] < 0
            colour = BLUE if one["low"] > 0 else RED if one["high"] < 0 else QUIET
            axis.plot([one["low"], one["high"]], [place, place], "-", color=colour, linewidth=1.6)
            axis.plot([one["mean"]], [place], "o" if sure else "D", color=colour, markersize=5)
        _markets_down(axis, list(known))
        axis.set_xlabel(f"{metric.upper()}: {method} minus {method_words(other)}")

    return Figure(
        "gain",
        f"Gain of {method} over {method_words(other)} per market",
        told + ".",
        ["market", "mean", "low", "high"],
        rows,
        draw,
        height=0.9 + _ROW * len(rows),
        note="Paired per user, 95 % bootstrap interval. Round marks: the interval excludes zero.",
    )


def convergence_figure(rounds: Sequence[Mapping[str, Any]], best: int | None) -> Figure | None:
    """The validation figure of the shared state, round by round."""
    validated = [record for record in rounds if record["validation_before"] is not None]
    stages = list(dict.fromkeys(record["stage"] for record in validated))
    if not validated:
        return None
    rows: list[list[Cell]] = [
        # a round validates the state that it began with
        [one["stage"], one["validated"], one["validation_before"], one["drift"]]
        for one in validated
    ]
    peaks = [max((row for row in rows if row[0] == stage), key=lambda row: float(row[2] or 0)) for stage in stages]
    told = "; ".join(
        f"{stage}: at most {float(value or 0):.4f}, after round {place}" for stage, place, value, _ in peaks
    )

    def draw(canvas: Canvas) -> None:
        for axis, stage in zip(np.atleast_1d(canvas.subplots(len(stages), 1)), stages, strict=True):
            own = [row for row in rows if row[0] == stage]
            places, values = [int(row[1] or 0) for row in own], [float(row[2] or 0) for row in own]
            axis.plot(places, values, "-", color=BLUE, marker=".", markersize=4)
            axis.set_ylabel("variance explained" if stage == "codebook" else "validation NDCG@10")
            axis.set_xlabel("after round")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            if stage == "pretrain" and best in places:
                axis.axvline(best, color=QUIET, linewidth=0.8, linestyle="--")
                axis.text(best, min(values), f" kept: {best}", color=INK, fontsize=8)

    return Figure(
        "convergence",
        "Validation, round by round",
        told.replace("pretrain: at", "At") + (f"; the model after round {best} was kept." if best is not None else "."),
        ["stage", "after_round", "validation", "mean_cosine_of_updates"],
        rows,
        draw,
        height=2.4 * len(stages),
    )


def rounds_figure(rounds: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Seconds and bytes of every round."""
    if not rounds:
        return None
    rows: list[list[Cell]] = [
        [one["stage"], one["round"], one["seconds"], one["train_seconds"], one["bytes_up"], one["bytes_down"]]
        for one in rounds
    ]
    seconds = [float(row[2] or 0) for row in rows]
    up, down = (np.array([float(row[column] or 0) / 1e6 for row in rows]) for column in (4, 5))

    def draw(canvas: Canvas) -> None:
        above, below = canvas.subplots(2, 1, sharex=True)
        places = np.arange(1, len(rows) + 1)
        training = np.minimum([float(row[3] or 0) for row in rows], seconds)
        above.bar(places, training, color=BLUE, label="slowest market's training")
        above.bar(places, np.array(seconds) - training, bottom=training, color=ORANGE, label="everything else")
        above.set_ylabel("seconds")
        above.set_ylim(top=1.3 * max(seconds))
        above.legend(loc="upper right", ncols=2)
        below.plot(places, up, "-", color=BLUE, marker=".", markersize=4, label="from the markets")
        below.plot(places, down, "--", color=ORANGE, marker=".", markersize=4, label="to the markets")
        below.set_ylabel("MB")
        below.set_ylim(bottom=0, top=1.35 * max(up.max(), down.max(), 1e-9))
        below.set_xlabel("round")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.legend(loc="upper right", ncols=2)

    return Figure(
        "rounds",
        "Seconds and bytes, round by round",
        f"{len(rows)} rounds of {np.mean(seconds):.1f} seconds on average, {max(seconds):.1f} at most; "
        f"{up.sum():.1f} MB left the markets and {down.sum():.1f} MB came to them.",
        ["stage", "round", "seconds", "train_seconds", "bytes_up", "bytes_down"],
        rows,
        draw,
        height=3.8,
    )


def attendance_figure(rounds: Sequence[Mapping[str, Any]], markets: Sequence[str]) -> Figure | None:
    """Who took part in which round; None where everybody always did."""
    states = {"accepted": 2, "rejected": 1, "not asked": 0}
    rows: list[list[Cell]] = []
    for place, record in enumerate(rounds, start=1):
        refused = {one["market"]: one["reason"] for one in record["rejected"]}
        for market in markets:
            state = "accepted" if market in record["accepted"] else "rejected" if market in refused else "not asked"
            rows.append([place, market, state, refused.get(market, "")])
    if all(row[2] == "accepted" for row in rows):
        return None
    missed = {market: sum(row[1] == market and row[2] == "rejected" for row in rows) for market in markets}

    def draw(canvas: Canvas) -> None:
        axis = canvas.subplots()
        looks = {"accepted": (BLUE, "s"), "rejected": (RED, "x"), "not asked": (QUIET, "_")}
        for state in states:
            found = [(int(row[0] or 0), markets.index(str(row[1]))) for row in rows if row[2] == state]
            if found:
                colour, marker = looks[state]
                axis.plot(*zip(*found, strict=True), marker, color=colour, markersize=4, label=state, linestyle="")
        _markets_down(axis, list(markets))
        axis.set_xlabel("round")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        canvas.legend(loc="outside upper left", ncols=3)

    return Figure(
        "attendance",
        "Who took part in which round",
        "Replies not used: " + (", ".join(f"{m} {n}" for m, n in missed.items() if n) or "none") + ".",
        ["round", "market", "state", "reason"],
        rows,
        draw,
        height=1.1 + 0.22 * len(markets),
    )


def item_map_figure(points: ItemMap) -> Figure:
    """The items of all markets on one map."""
    names = list(dict.fromkeys(points.markets))
    owners = np.array(points.markets)
    centres = {name: points.places[owners == name].mean(axis=0) for name in names}
    spread = float(np.sqrt(points.places.var(axis=0).sum())) or 1.0
    between = float(np.sqrt(np.var([centres[name] for name in names], axis=0).sum()))

    def draw(canvas: Canvas) -> None:
        axis = canvas.subplots()
        for place, name in enumerate(names):
            own = points.places[owners == name]
            colour, marker = look(place)
            axis.plot(*own.T, marker, color=colour, markersize=3.2, alpha=0.6, markeredgewidth=0, label=name)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(f"first two principal components: {points.explained:.0%} of the variance")
        canvas.legend(loc="outside upper left", ncols=5, markerscale=2, handletextpad=0.1, columnspacing=0.8)

    rows: list[list[Cell]] = [
        [market, float(x), float(y)] for market, (x, y) in zip(points.markets, points.places, strict=True)
    ]
    return Figure(
        "items",
        "Items of all markets, as their finished models see them",
        f"{len(rows)} items of {len(names)} markets. The markets' centres lie {between / spread:.2f} of the items' "
        "spread apart: "
        + ("the markets' items mix." if between < spread / 3 else "each market has a region of its own."),
        ["market", "x", "y"],
        rows,
        draw,
        height=3.9,
        note="At most 400 items a market, drawn by chance.",
    )


def code_overlap(use: CodeUse) -> tuple[list[str], NDArray[np.floating]]:
    """Of each pair of markets the share of items under the same codes: one less the total variation distance."""
    names = list(use.counts)
    shares = np.array([use.counts[name] / max(use.counts[name].sum(), 1) for name in names])  # [M, K]
    return names, 1 - np.abs(shares[:, None] - shares[None]).sum(axis=-1) / 2


def codes_figure(use: Sequence[CodeUse]) -> Figure:
    """How alike the markets use the first common level."""
    first = use[0]
    names, overlap = code_overlap(first)
    rows: list[list[Cell]] = [
        [one.level, market, code, int(count)]
        for one in use
        for market, counts in one.counts.items()
        for code, count in enumerate(counts)
    ]
    apart = overlap[~np.eye(len(names), dtype=bool)] if len(names) > 1 else np.ones(1)

    def draw(canvas: Canvas) -> None:
        axis = canvas.subplots()
        axis.pcolormesh(overlap, vmin=0, vmax=1, cmap=_fading(), edgecolors="none")
        for (row, column), value in np.ndenumerate(overlap):
            axis.text(
                column + 0.5, row + 0.5, f"{value:.2f}".lstrip("0"), ha="center", va="center", color=INK, fontsize=8
            )
        places = np.arange(len(names)) + 0.5
        axis.set_xticks(places, names)
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.spines[:].set_visible(False)

    return Figure(
        "codes",
        "Overlap of the markets' use of the common codes, first level",
        f"From {apart.min():.2f} to {apart.max():.2f} between two markets; 1 is the same use, 0 no code in common.",
        ["level", "market", "code", "items"],
        rows,
        draw,
        height=0.9 + _ROW * len(names),
        note="One less the total variation distance of the shares of items under each code.",
    )


def _fading() -> LinearSegmentedColormap:
    """Nothing to a light blue, on light and dark ground alike."""
    red, green, blue = to_rgb(BLUE)
    return LinearSegmentedColormap.from_list("fading", [(red, green, blue, 0.0), (red, green, blue, 0.45)])


def _markets_down(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", color=QUIET, linewidth=0.3, alpha=0.5)
    axis.tick_params(axis="y", length=0)
