"""Numbers for Prometheus: what they count, and that nothing but numbers is served."""

import http.client
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deploy.make_dashboard import dashboard
from fedrec.deployment.certificates import Authority
from fedrec.deployment.create import create_deployment
from fedrec.deployment.exporter import TYPE, read, served, server
from fedrec.deployment.metrics import CoordinatorMetrics, MarketMetrics, write_regularly
from fedrec.deployment.series import reason_class, series
from fedrec.exchange import declaration
from fedrec.files import append_json_line, write_json

ROUND = {
    "event": "round",
    "round": 3,
    "total": 24,
    "seconds": 2.5,
    "train_seconds": 1.5,
    "bytes_up": 10,
    "bytes_down": 20,
}


ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:1"


def authority(folder: Path) -> Path:
    """A certificate."""
    made = folder / "authority" / "ca.crt"
    made.parent.mkdir()
    Authority.create("a test").write(made, made.with_name("ca.key"))
    return made


def values(metrics: MarketMetrics | CoordinatorMetrics) -> dict[str, float]:
    """Samples as Prometheus reads them, by name and labels."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_coordinators_numbers_are_those_of_the_events(tmp_path: Path) -> None:
    part = create_deployment(tmp_path / "deployment", ["jp", "in"], None, masks=False).coordinator
    metrics = CoordinatorMetrics(part.runs, part.authority, NOBODY)
    (part.runs / "run").mkdir()
    events = part.runs / "run" / "events.jsonl"
    rejected = [{"market": "in", "reason": "no reply within 600 s"}]
    append_json_line(events, {**ROUND, "accepted": ["jp"], "rejected": rejected})
    metrics.nodes(2, 1)
    metrics.update()
    append_json_line(events, {**ROUND, "round": 4, "accepted": ["jp", "in"], "rejected": []})
    append_json_line(events, {"event": "ended", "completed": True})
    metrics.update()
    found = values(metrics)
    assert found["fedrec_round"] == 4
    assert found["fedrec_rounds_total"] == 2
    assert found["fedrec_rounds_planned"] == 24
    assert found["fedrec_round_seconds training"] == 1.5
    assert found["fedrec_replies_total jp accepted"] == 2
    assert found["fedrec_replies_total in late"] == 1
    assert found["fedrec_round_bytes_total up"] == 20
    assert found["fedrec_nodes online"] == 2
    assert found["fedrec_runs_ended_total completed"] == 1
    assert found["fedrec_certificate_days authority"] > 300


def test_what_happened_before_a_start_is_not_counted_again(tmp_path: Path) -> None:
    part = create_deployment(tmp_path / "deployment", ["jp", "in"], None, masks=False).coordinator
    (part.runs / "run").mkdir()
    events = part.runs / "run" / "events.jsonl"
    append_json_line(events, {**ROUND, "accepted": ["jp"], "rejected": []})
    old = time.time() - 3600
    os.utime(events, (old, old))
    metrics = CoordinatorMetrics(part.runs, part.authority, NOBODY)
    metrics.update()
    assert values(metrics).get("fedrec_rounds_total", 0) == 0


def test_a_markets_numbers(tmp_path: Path) -> None:
    metrics = MarketMetrics(tmp_path, authority(tmp_path), NOBODY)
    with metrics.answering("train.pretrain") as answer:
        answer.outcome, answer.bytes = "answered", 100
    with metrics.answering('train."}\nforged 1') as answer:
        answer.outcome = "late"
    with pytest.raises(RuntimeError), metrics.answering("query.hello"):
        raise RuntimeError
    write_json(tmp_path / "run" / "markets" / "jp" / "privacy.json", {"epsilon": 3.5})
    metrics.update()
    found = values(metrics)
    assert found["fedrec_answers_total train.pretrain answered"] == 1
    assert found["fedrec_answers_total other late"] == 1
    assert found["fedrec_answers_total query.hello lost"] == 1
    assert found["fedrec_answer_bytes_total"] == 100
    assert found["fedrec_epsilon_spent"] == 3.5


def test_every_action_has_its_own_label(tmp_path: Path) -> None:
    actions = {
        value
        for value in vars(declaration).values()
        if isinstance(value, str) and re.fullmatch(r"(query|train|evaluate)\.\w+", value)
    }
    actions |= set(declaration.LOCAL_BASELINES.values())
    metrics = MarketMetrics(tmp_path, authority(tmp_path), NOBODY)
    for action in actions:
        with metrics.answering(action) as answer:
            answer.outcome = "answered"
    assert {name.split()[1] for name in values(metrics) if name.startswith("fedrec_answers_total")} == actions


@given(st.text(max_size=200))
def test_a_reason_is_one_of_a_closed_list(text: str) -> None:
    assert re.fullmatch(r"[a-z ]{4,30}", reason_class(text))
    assert reason_class(f"error 1002: {text}") == "process died"


WORDS = st.text(alphabet=st.sampled_from('abcxyz_{}=",.0123456789 #TYPEfedrc'), max_size=80)


@given(st.sampled_from([*series()]), WORDS, WORDS, WORDS)
def test_only_series_of_ours_are_served(name: str, label: str, value: str, number: str) -> None:
    """Whatever a bundle's code writes into the file: a name, labels and their values come from closed lists."""
    for line in served(f'{name}{{{label}="{value}"}} {number}\n{name} {number}\n{label}').splitlines():
        told = re.fullmatch(r"(# TYPE )?(\w+)(?:\{(.*)\})?( gauge| counter| [-\d.e+]{1,16})", line)
        assert told is not None
        labels = series()[told[2]]
        assert set(re.findall(r'(\w+)="', told[3] or "")) <= set(labels)
        for key, found in re.findall(r'(\w+)="([^"]*)"', told[3] or ""):
            assert re.fullmatch(labels[key], found)


@pytest.mark.parametrize(
    "line",
    [
        "user alfa-00003 bought x",
        'fedrec_answers_total{action="train.pretrain",outcome="alice bought sku 4711"} 1',
        'fedrec_answers_total{action="train.pretrain",outcome="late",word="x"} 1',
        'fedrec_answers_total{action="train.pretrain"} 1',
        "fedrec_secret 1",
        "fedrec_round 1 1700000000",
        "fedrec_round NaN",
        "fedrec_round 1.2.3",
        "# HELP fedrec_round alfa-00003",
        "# TYPE fedrec_secret gauge",
        f"fedrec_round {'1' * 31}",
    ],
)
def test_other_lines_are_left_out(line: str) -> None:
    assert served(f"fedrec_rounds_planned 3.0\n{line}\n") == "fedrec_rounds_planned 3\n"


def test_numbers_have_few_digits_and_a_series_is_told_once() -> None:
    assert served("fedrec_round 3.14159265358979\nfedrec_round 3.141592654\n") == "fedrec_round 3.14159265\n"


def test_all_that_is_counted_is_served(tmp_path: Path) -> None:
    part = create_deployment(tmp_path / "deployment", ["jp", "in"], None, masks=False).coordinator
    coordinator = CoordinatorMetrics(part.runs, part.authority, NOBODY)
    market = MarketMetrics(tmp_path, authority(tmp_path), NOBODY)
    with market.answering("train.pretrain") as answer:
        answer.outcome = "answered"
    coordinator.update()
    market.update()
    for metrics in (coordinator, market):
        text = generate_latest(metrics.registry).decode()
        kept = served(text)
        for line in text.splitlines():
            if not line.startswith("# HELP") and "_created" not in line:
                assert line.rpartition(" ")[0] in kept, line


def test_numbers_go_on_after_a_file_that_is_half_written(tmp_path: Path) -> None:
    metrics = MarketMetrics(tmp_path, authority(tmp_path), NOBODY)
    budget = tmp_path / "run" / "markets" / "jp" / "privacy.json"
    budget.parent.mkdir(parents=True)
    budget.write_text('{"epsilon": 1')
    file = tmp_path / "fedrec.prom"
    write_regularly(metrics, file, pause_seconds=0.05)
    time.sleep(0.3)
    assert not file.exists()
    write_json(budget, {"epsilon": 2.5})
    until = time.monotonic() + 10
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert "fedrec_epsilon_spent 2.5" in file.read_text()


@pytest.mark.parametrize("event", [{"event": "round", "round": 1}, {"event": ["x"]}, {**ROUND, "seconds": "x"}])
def test_an_event_in_another_form_counts_nothing(tmp_path: Path, event: dict[str, Any]) -> None:
    (tmp_path / "run").mkdir()
    append_json_line(tmp_path / "run" / "events.jsonl", event)
    metrics = CoordinatorMetrics(tmp_path, authority(tmp_path), NOBODY)
    metrics.update()
    assert values(metrics).get("fedrec_replies_total", 0) == 0


def test_what_is_no_file_of_now_is_not_served(tmp_path: Path) -> None:
    file = tmp_path / "fedrec.prom"
    assert read(file) is None
    os.mkfifo(file)
    assert read(file) is None, "at once"
    file.unlink()
    (tmp_path / "secret").write_text("fedrec_round 1\n")
    file.symlink_to(tmp_path / "secret")
    assert read(file) is None
    file.unlink()
    file.write_text("fedrec_round 1\n")
    assert read(file) == "fedrec_round 1\n"
    os.utime(file, (time.time() - 3600,) * 2)
    assert read(file) is None, "nobody writes it any more"


def test_the_exporter_answers(tmp_path: Path) -> None:
    file = tmp_path / "fedrec.prom"
    with server(file, 0, "127.0.0.1") as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        port = serving.server_address[1]

        def get(path: str) -> tuple[int, str, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.getheader("Content-Type", ""), response.read().decode()
            finally:
                connection.close()

        assert get("/metrics")[0] == 503
        file.write_text("fedrec_round 3.0\nuser alfa-00003\n")
        assert get("/metrics") == (200, TYPE, "fedrec_round 3\n")
        assert get("/other")[0] == 404
        serving.shutdown()


def test_the_dashboard_asks_for_what_is_counted(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "grafana" / "fedrec.json").read_text()
    assert json.loads(text) == dashboard()
    made = [CoordinatorMetrics(tmp_path, authority(tmp_path), NOBODY), MarketMetrics(tmp_path, tmp_path, NOBODY)]
    counted = {
        family.name + ("_total" if family.type == "counter" else "")
        for metrics in made
        for family in metrics.registry.collect()
    }
    asked = {
        name
        for panel in dashboard()["panels"]
        for one in panel["targets"]
        for name in re.findall(r"fedrec_\w+", one["expr"])
    }
    assert asked <= counted
    labels = {"instance"}
    for metrics in made:
        labels |= {
            label for counter in metrics.registry._collector_to_names for label in getattr(counter, "_labelnames", ())
        }
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) <= labels
