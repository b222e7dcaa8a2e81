"""Writes ``deploy/grafana/fedrec.json``: ``python deploy/make_dashboard.py``; a test keeps the two alike."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WIDTH, HEIGHT = 8, 7  # of a panel, in Grafana's units; a row holds three
SOURCE = {"type": "prometheus", "uid": "${source}"}
PANELS: list[tuple[str, str, str, list[tuple[str, str]]]] = [  # title, kind, unit, queries with their legends
    ("Round", "stat", "none", [("fedrec_round", "of"), ("fedrec_rounds_planned", "at most")]),
    ("Nodes", "stat", "none", [("fedrec_nodes", "{{status}}")]),
    ("Certificates, days left", "stat", "d", [("min by (certificate) (fedrec_certificate_days)", "{{certificate}}")]),
    ("Seconds of a round", "timeseries", "s", [("fedrec_round_seconds", "{{part}}")]),
    ("Replies", "timeseries", "none", [("sum by (outcome) (increase(fedrec_replies_total[5m]))", "{{outcome}}")]),
    ("Bytes a second", "timeseries", "Bps", [("rate(fedrec_round_bytes_total[5m])", "{{direction}}")]),
    ("Answers of a market", "timeseries", "none", [("increase(fedrec_answers_total[5m])", "{{action}}, {{outcome}}")]),
    ("Seconds of an answer", "timeseries", "s", [("rate(fedrec_answer_seconds_total[5m])", "{{action}}")]),
    ("Epsilon spent", "timeseries", "none", [("fedrec_epsilon_spent", "{{instance}}")]),
]


def dashboard() -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "title": "fedrec",
        "uid": "fedrec",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [panel(number, *given) for number, given in enumerate(PANELS)],
    }


def panel(number: int, title: str, kind: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    """One panel, in its place."""
    return {
        "id": number + 1,
        "title": title,
        "type": kind,
        "datasource": SOURCE,
        "gridPos": {"x": number % 3 * WIDTH, "y": number // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for place, (query, legend) in enumerate(queries)
        ],
    }


if __name__ == "__main__":
    (HERE / "grafana" / "fedrec.json").write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
