"""What a sweep over epsilons says of figures that stand outside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedrec.report.tradeoff import write_tradeoff
from fedrec.simulation import privacy_sweep


def test_a_sweep_says_that_it_lets_figures_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a person reads it, also in a pipe; and it does set that."""
    asked: list[tuple[str, ...]] = []
    told: list[str] = []

    def nothing(_reference: str, points: list[Any], *_rest: Any) -> Iterator[Any]:
        asked.extend(point.overrides for point in points)
        return iter(())

    monkeypatch.setattr(privacy_sweep, "sweep", nothing)
    privacy_sweep.sweep_privacy("fecosr", [8.0], 1, [], None, tmp_path, 0.2, told.append)
    assert any("privacy.reports is set to outside" in text for text in told)
    assert "privacy.reports=outside" in asked[-1]


def test_so_does_its_page(tmp_path: Path) -> None:
    row = {"epsilon": 8.0, "seed": 0, "market": "jp", "users": 50, "metric": "ndcg@10", "federated": 0.1, "rounds": 2}
    row |= {"megabytes_up": 1.0, "seconds": 2.0, "user_membership_auc": 0.5}
    words = {"unit": "user", "relation": "add or remove", "sampling": "Poisson", "accountant": "pld", "delta": 1e-5}
    write_tradeoff(tmp_path, "fecosr", [row], {"epsilon": 8.0, **words})
    page = " ".join((tmp_path / "index.html").read_text().split())
    assert "the sweep set <code>privacy.reports</code> to <code>outside</code>" in page
