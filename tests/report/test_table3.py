"""The published table beside ours: every number in its place, and what is missing is blank."""

import csv
import io

import pytest

from fedrec.report.table3 import METRICS, ordered_models, published, table3_csv, table3_lines, table3_markdown


def row(model: str, market: str, split: int, value: float) -> dict[str, str]:
    return {"model": model, "market": market, "split": str(split), **{metric: str(value) for metric in METRICS}}


ROWS = [
    row("ours", "jp", 0, 0.9),
    row("NeuMF", "jp", 1, 0.30),
    row("NeuMF", "jp", 0, 0.20),
    row("NeuMF", "in", 0, 0.40),
    row("popularity", "jp", 0, 0.6),
]


def test_the_published_table_is_whole() -> None:
    figures = published("ndcg@10")
    assert len(figures) == 13 * 7
    assert figures["ACMR", "mx"] == 0.7198
    assert published("recall@5")["NeuMF", "de"] == 0.4262


def test_floors_stand_above_and_ours_below() -> None:
    assert ordered_models(ROWS) == ["popularity", "NeuMF", "ours"]


def test_another_form_of_a_model_stands_beside_it_with_the_published_line() -> None:
    rows = [*ROWS, row("NeuMF among own items", "jp", 0, 0.5)]
    assert ordered_models(rows) == ["popularity", "NeuMF", "NeuMF among own items", "ours"]
    lines = table3_lines(rows)[1]
    assert [line[1] for line in lines[4:7]] == ["0.5000", "0.2271", "+0.2729"]


def test_a_line_is_ours_then_theirs_then_the_difference() -> None:
    header, lines = table3_lines(ROWS)
    assert header == ["", "jp", "in", "mean", "splits"]
    assert lines[0] == ["popularity", "0.6000", "", "", "0-1"]
    assert lines[1] == ["NeuMF", "0.2500", "0.4000", "0.3250", "1-2"]
    assert lines[2] == ["- published", "0.2271", "0.3675", "0.2973", ""]
    assert lines[3] == ["- difference", "+0.0229", "+0.0325", "+0.0277", ""]
    assert lines[4][:2] == ["ours", "0.9000"]


def test_the_csv_has_one_line_a_figure_with_its_spread() -> None:
    rows = list(csv.DictReader(io.StringIO(table3_csv(ROWS))))
    assert len(rows) == 4 * len(METRICS)
    (neumf,) = (r for r in rows if (r["model"], r["market"], r["metric"]) == ("NeuMF", "jp", "ndcg@10"))
    assert neumf == {
        "model": "NeuMF", "market": "jp", "metric": "ndcg@10", "published": "0.2271", "ours": "0.2500",
        "difference": "0.0229", "spread": "0.0707", "splits": "2",
    }  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_the_markdown_has_a_table_a_metric(metric: str) -> None:
    text = table3_markdown(ROWS)
    assert f"### {metric}\n\n|  | jp | in | mean | splits |\n" in text
