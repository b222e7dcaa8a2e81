"""docs/results/models.md: other models in the same federation, and other aggregators."""

from commands import AGGREGATORS, BERT4REC, GRU4REC, METHODS, NEUMF, NEURAL_HELPERS
from results import Row

from fedrec.report.table3 import MARKETS
from tables.figures import HEADLINE, label, markdown, mean, per_seed_means, result_lines, rows_of, select, with_spread
from tables.table import Table

MODELS = {
    "transformer": "xmarket_methods",
    "GRU4Rec": "xmarket_gru4rec",
    "BERT4Rec": "xmarket_bert4rec",
    "NeuMF": "xmarket_neumf",
}  # name -> rows
PARTS = ("local_without_prior", "local", "federated_without_prior", "federated", "pooled")


def models() -> str:
    """NDCG@10 of the federated model, finished, per market."""
    lines = [["", *MARKETS, "**mean**"]]
    for name, table in MODELS.items():
        (line,) = result_lines(_family(table), ("federated",))
        lines.append([name, *line[1:]])
    return markdown(lines)


def parts() -> str:
    """Means over markets with their spread over seeds, and the gain."""
    lines = [["", *map(label, PARTS), "federated − local"]]
    for name, table in MODELS.items():
        rows = _family(table)
        measured = {row["method"] for row in rows}
        means = {part: per_seed_means(rows, part) for part in PARTS if part in measured}
        gain = [one - other for one, other in zip(means["federated"], means["local"], strict=True)]
        cells = [with_spread(means[part]) if part in means else "" for part in PARTS]
        lines.append([name, *cells, f"{mean(gain):+.4f}"])
    return markdown(lines)


def aggregators() -> str:
    """NDCG@10 without the prior per market, the means without and with it, and the round that validation kept."""
    rows = select("aggregators", seed="0")
    lines = [["", *MARKETS, "**mean (no prior)**", "**mean**", "round kept"]]
    for name in dict.fromkeys(row["aggregator"] for row in rows):
        own = {row["market"]: row for row in rows if row["aggregator"] == name}
        lines.append(
            [
                _aggregator(name),
                *(f"{float(own[market]['federated_without_prior']):.4f}" for market in MARKETS),
                *(f"{_mean_of(own, column):.4f}" for column in ("federated_without_prior", "federated")),
                own[MARKETS[0]]["kept_round"],
            ]
        )
    return markdown(lines)


def neural_helpers() -> str:
    """Means over markets of FeCoSR-style with one thing changed, and the validation that would choose it."""
    columns = ("federated_without_prior", "federated", "local_without_prior", "local")
    lines = [["", "validation", "round kept", *map(label, columns), "seconds"]]
    for row in rows_of("neural_helpers"):
        figures = [f"{float(row[name]):.4f}" for name in columns]
        lines.append([row["helper"], f"{float(row['validation']):.4f}", row["best_round"], *figures, row["seconds"]])
    return markdown(lines)


def _family(table: str) -> list[Row]:
    return select(table, protocol="family", lam=HEADLINE)


def _mean_of(own: dict[str, Row], column: str) -> float:
    return mean([float(row[column]) for row in own.values()])


def _aggregator(name: str) -> str:
    return name if name in {"FedProx", "Ditto"} or name.startswith("flower") else f"`{name}`"


_PAGE = "docs/results/models.md"
TABLES = (
    Table("models", _PAGE, models, (METHODS, GRU4REC, BERT4REC, NEUMF)),
    Table("models-parts", _PAGE, parts, (METHODS, GRU4REC, BERT4REC, NEUMF)),
    Table("aggregators", _PAGE, aggregators, (AGGREGATORS,)),
    Table("neural-helpers", _PAGE, neural_helpers, (NEURAL_HELPERS,)),
)
