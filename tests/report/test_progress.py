"""What a person reads while a run goes on, whatever engine writes the events."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from fedrec.report.following import follow
from fedrec.report.progress import ProgressView, describe_event

ROUND = {
    "event": "round",
    "stage": "pretrain",
    "round": 1,
    "total": 3,
    "validated": 0,
    "seconds": 1.24,
    "validation_before": 0.17931,
    "drift": 0.291,
    "accepted": ["jp"],
    "rejected": [{"market": "in", "reason": "no reply within 25 s"}],
}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            ROUND,
            "round 1/3  1.2 s  validation NDCG@10 0.1793 after round 0  cosine 0.29"
            "  [in rejected: no reply within 25 s]",
        ),
        ({"event": "submitted", "run": 7, "bundle": "ab" * 32}, "run 7 on the SuperLink, bundle abababababab"),
        (
            {"event": "refused", "market": "jp", "node": 5, "reason": "its key is not that of market 'jp'"},
            "market 'jp': node 5 refused: its key is not that of market 'jp'",
        ),
        ({"event": "answered", "market": "jp", "action": "train.pretrain"}, ""),
        ({"event": "ended", "run": 7, "completed": True, "reason": ""}, ""),
    ],
)
def test_events_in_words(event: dict[str, object], line: str) -> None:
    assert describe_event(event) == line


def test_the_bar_moves_with_every_answer_of_a_deployment(tmp_path: Path) -> None:
    """There, answers are known from the events alone."""
    events = tmp_path / "events.jsonl"
    events.write_text("")
    screen = io.StringIO()
    view = ProgressView(Console(file=screen, force_terminal=True, width=120))
    with follow(events, [view]):
        stream = [
            {"event": "started", "markets": ["in", "jp"], "protocol": "family", "semantics": "hashing"},
            {"event": "stage", "action": "train.finetune", "markets": ["in", "jp"]},
            {"event": "answered", "market": "jp", "action": "train.finetune"},
        ]
        events.write_text("".join(json.dumps(event) + "\n" for event in stream))
        until = time.monotonic() + 20
        while "jp" not in screen.getvalue().rpartition("fine-tuning")[2] and time.monotonic() < until:
            time.sleep(0.05)
    shown = screen.getvalue()
    assert "2 markets: in, jp; protocol family; semantics hashing" in shown
    assert "fine-tuning in every market  jp" in shown
    assert "1/2" in shown
