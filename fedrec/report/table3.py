"""ACMR's Table 3 beside ours: what was published, what we measured, and the difference.

``table3.csv`` holds the published figures (Hu et al., Information Systems 2024, Table 3: means of five splits).
"""

import csv
import io
import statistics
from collections.abc import Sequence
from importlib import resources

METRICS = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
MARKETS = ("de", "jp", "in", "fr", "ca", "mx", "uk")  # in the order of the published table
_BASELINES = ("popularity", "item-kNN", "EASE")
Row = dict[str, str]


def published(metric: str) -> dict[tuple[str, str], float]:
    """The published figures of one metric, by model and market."""
    text = (resources.files("fedrec.report") / "table3.csv").read_text(encoding="utf-8")
    return {(row["model"], row["market"]): float(row[metric]) for row in csv.DictReader(io.StringIO(text))}


def measured(rows: Sequence[Row], metric: str) -> dict[tuple[str, str], list[float]]:
    """Our figures of one metric by model and market, one a split, in the order of the splits."""
    result: dict[tuple[str, str], list[float]] = {}
    for row in sorted(rows, key=lambda row: int(row["split"])):
        if row[metric]:
            result.setdefault((row["model"], row["market"]), []).append(float(row[metric]))
    return result


def ordered_models(rows: Sequence[Row]) -> list[str]:
    """Baselines first, then the models of the published table in its order, then what is ours, as the rows come."""
    found = list(dict.fromkeys(row["model"] for row in rows))
    theirs = list(dict.fromkeys(model for model, _ in published("ndcg@10")))
    first: list[str] = [model for model in found if printed_as(model) in _BASELINES]
    for name in theirs:
        first += sorted(model for model in found if printed_as(model.partition(",")[0]) == name)  # ablations too
    return [*first, *(model for model in found if model not in first)]


def printed_as(model: str) -> str:
    """Under which name a model stands in the published table; what differs in form only stands beside it."""
    return model.removesuffix(" apart").removesuffix(" among own items")


def markets_of(rows: Sequence[Row]) -> list[str]:
    """The markets that have rows, in the order of the published table, others after them."""
    found = {row["market"] for row in rows}
    return [market for market in MARKETS if market in found] + sorted(found - set(MARKETS))


def table3_lines(rows: Sequence[Row], metric: str = "ndcg@10") -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table for people: per model a line of ours, of theirs, and of the difference."""
    markets, theirs, ours = markets_of(rows), published(metric), measured(rows, metric)
    header = ["", *markets, "mean", "splits"]
    lines: list[list[str]] = []
    for model in ordered_models(rows):
        values = [_mean(ours.get((model, market))) for market in markets]
        splits = {len(ours.get((model, market), [])) for market in markets}
        count = "-".join(str(number) for number in sorted({min(splits), max(splits)}))
        lines.append([model, *map(_figure, values), _figure(_whole(values)), count])
        known = [theirs.get((printed_as(model), market)) for market in markets]
        if any(value is not None for value in known):
            lines.append(["- published", *map(_figure, known), _figure(_whole(known)), ""])
            gaps = [None if a is None or b is None else a - b for a, b in zip(values, known, strict=True)]
            lines.append(["- difference", *map(_signed, gaps), _signed(_whole(gaps)), ""])
    return header, lines


def table3_markdown(rows: Sequence[Row]) -> str:
    """All four metrics as Markdown."""
    parts = []
    for metric in METRICS:
        header, lines = table3_lines(rows, metric)
        head = "| " + " | ".join(header) + " |\n|-" + "|-:" * (len(header) - 1) + "|"
        parts.append(f"### {metric}\n\n{head}\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def table3_csv(rows: Sequence[Row]) -> str:
    """One line a model, market and metric: published, ours, difference, spread over splits, number of splits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "market", "metric", "published", "ours", "difference", "spread", "splits"])
    for metric in METRICS:
        theirs, ours = published(metric), measured(rows, metric)
        for model in ordered_models(rows):
            for market in markets_of(rows):
                values, known = ours.get((model, market)), theirs.get((printed_as(model), market))
                if values:
                    mean = statistics.fmean(values)
                    gap = "" if known is None else f"{mean - known:.4f}"
                    spread = f"{statistics.stdev(values):.4f}" if len(values) > 1 else ""
                    printed = "" if known is None else f"{known:.4f}"
                    writer.writerow([model, market, metric, printed, f"{mean:.4f}", gap, spread, len(values)])
    return buffer.getvalue()


def _mean(values: Sequence[float] | None) -> float | None:
    return statistics.fmean(values) if values else None


def _whole(values: Sequence[float | None]) -> float | None:
    """The mean, where no market is missing."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if values and len(known) == len(values) else None


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"
