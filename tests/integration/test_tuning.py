"""Sweeps: what chooses is validation, what is done is not done again, and an interruption changes nothing."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import pytest
import yaml

from fedrec.errors import RunError, UserError
from fedrec.files import append_json_line
from fedrec.runs.summary import comparable
from fedrec.simulation import optimise as trials
from fedrec.simulation import tuning
from fedrec.simulation.optimise import Axis, optimise
from fedrec.simulation.tuning import grid_points, sweep_grid
from tests.conftest import QUICK

SETTINGS = [*QUICK, "evaluation.methods=[federated, popularity]"]


class StoppedError(Exception):
    pass


def quiet(_text: str) -> None:
    pass


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "sweep.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def validated(run: Path) -> float:
    """Mean over markets of what fine-tuning reported, from the run's events."""
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (done,) = (one for one in lines if one["event"] == "stage_done" and one["action"] == "train.finetune")
    return float(np.mean([market["validation"] for market in done["results"].values()]))


def test_a_grid_of_two_recipes_under_three_seeds(synthetic: Path, tmp_path: Path) -> None:
    """StoppedError in the middle, taken up, and validated by validation alone."""
    axes = ["training.learning_rate=0.0001,0.02"]
    out = tmp_path / "grid"

    def until_the_fourth(text: str) -> None:
        if text.startswith("run 4"):
            raise StoppedError

    with pytest.raises(StoppedError):
        list(sweep_grid("fecosr", axes, 3, SETTINGS, synthetic, out, until_the_fourth))
    assert len(rows(out)) == 3
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/summary.json")}
    told: list[str] = []
    *_, found = sweep_grid("fecosr", axes, 3, SETTINGS, synthetic, out, quiet, told.append)
    assert sum(text.startswith("round 1/") for text in told) == 3, "each of the three that were left"
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing was run twice"

    read = rows(out)
    assert len(read) == 6
    for row in read:
        assert float(row["validation"]) == pytest.approx(validated(out / row["run"]))
    means = {
        rate: np.mean([float(row["validation"]) for row in read if row["training.learning_rate"] == rate])
        for rate in ("0.0001", "0.02")
    }
    best = max(means, key=lambda rate: means[rate])
    assert [one.validation for one in found] == pytest.approx(sorted(means.values(), reverse=True))
    spreads = [np.std(one.validations, ddof=1) for one in found]
    assert [one.spread for one in found] == pytest.approx(spreads)
    assert yaml.safe_load((out / "best.yaml").read_text())["training"]["learning_rate"] == float(best)
    test = tuning.figures_on_test(found[0], "ndcg@10")
    summaries = [json.loads((out / row["run"] / "summary.json").read_text()) for row in read if best in row.values()]
    assert test["federated"] == pytest.approx(np.mean([one["mean"]["federated"]["ndcg@10"] for one in summaries]))
    with pytest.raises(UserError, match="another recipe"):
        next(sweep_grid("fecosr", axes, 3, [*SETTINGS, "loss.lam=0"], synthetic, out, quiet))


def test_trials_go_on_as_if_nothing_had_happened(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = ["loss.lam=0..0.5", "training.learning_rate=1e-4..1e-1:log", "encoder.layers=1,2"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    *_, expected = optimise("fecosr", axes, 3, 1, SETTINGS, synthetic, whole, True, quiet)

    follow = trials._Lead.follow

    def breaking(self: Any, path: Path) -> Any:
        inner, answers = follow(self, path), []

        def answered(market: str, action: str) -> None:
            inner(market, action)
            answers.append(action)
            if "trial-001" in str(path) and answers.count("train.pretrain") == 5:
                raise StoppedError

        return answered

    monkeypatch.setattr(trials._Lead, "follow", breaking)
    with pytest.raises(StoppedError):
        list(optimise("fecosr", axes, 3, 1, SETTINGS, synthetic, broken, True, quiet))
    monkeypatch.undo()
    *_, found = optimise("fecosr", axes, 3, 1, SETTINGS, synthetic, broken, True, quiet)
    assert [(one.point, one.validations) for one in found] == [(one.point, one.validations) for one in expected]
    assert (broken / "best.yaml").read_bytes() == (whole / "best.yaml").read_bytes()
    *_, more = optimise("fecosr", axes, 4, 1, SETTINGS, synthetic, broken, True, quiet)
    assert len(more) == 4
    with pytest.raises(UserError, match="other axes"):
        next(optimise("fecosr", axes[:1], 4, 1, SETTINGS, synthetic, broken, True, quiet))


def test_a_trial_that_lags_behind_is_given_up(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(2, 0))
    for score in (0.4, 0.5):
        trial = study.ask()
        for step in range(3):
            trial.report(score, step)
        study.tell(trial, score)
    events = tmp_path / "events.jsonl"

    def rounds(*values: float) -> None:
        for step, value in enumerate(values):
            fields = {"event": "round", "stage": "pretrain", "validated": step, "validation_before": value}
            append_json_line(events, fields)

    good = trials._Lead(study.ask(), set(), True)
    rounds(0.46, 0.47, 0.48)
    good.follow(tmp_path)("alfa", "train.pretrain")
    assert not good.pruned
    events.unlink()
    rounds(0.1, 0.2, 0.3)
    patient = trials._Lead(study.ask(), set(), False)
    patient.follow(tmp_path)("alfa", "train.pretrain")
    lagging = trials._Lead(study.ask(), set(), True)
    with pytest.raises(optuna.TrialPruned, match="after round 0"):
        lagging.follow(tmp_path)("alfa", "train.pretrain")
    assert lagging.pruned


@pytest.mark.slow
def test_several_at_a_time_come_to_the_same(synthetic: Path, tmp_path: Path) -> None:
    """Two processes at a time: figures, order and files are those of one after the other; nothing is done twice."""
    axes, settings = ["training.learning_rate=0.0001,0.02"], [*SETTINGS, "federation.rounds=1", "finetune.epochs=1"]
    told: list[str] = []
    *_, one_by_one = sweep_grid("fecosr", axes, 1, settings, synthetic, tmp_path / "one", quiet)
    *_, together = sweep_grid("fecosr", axes, 1, settings, synthetic, tmp_path / "two", told.append, jobs=2)
    assert [text.partition(":")[0] for text in told] == ["run 1 of 2", "run 2 of 2"]
    assert [one.point for one in together] == [one.point for one in one_by_one]
    for left, right in zip(together, one_by_one, strict=True):
        assert comparable(left.done[0].summary) == comparable(right.done[0].summary)
    without = [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "two")]
    assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "one")]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").glob("runs/*/summary.json")}
    list(sweep_grid("fecosr", axes, 1, settings, synthetic, tmp_path / "two", quiet, jobs=2))
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_what_one_of_several_meets_ends_all_in_its_words(synthetic: Path, tmp_path: Path) -> None:
    """A run that fails fails the sweep in the words of the run, and leaves no process behind."""
    failing = [*SETTINGS, "federation.rounds=1", "federation.norm_bound=1e-9"]
    with pytest.raises(RunError, match="no round was accepted"):
        list(sweep_grid("fecosr", ["loss.lam=0,0.3"], 1, failing, synthetic, tmp_path / "run", quiet, jobs=2))
    left = [" ".join(one.cmdline()) for one in psutil.Process().children()]
    assert [line for line in left if "resource_tracker" not in line] == []  # Python keeps one of those


def test_what_the_disk_says_to_one_of_several_is_passed_on(synthetic: Path, tmp_path: Path) -> None:
    """With the file, as if one run at a time had met it."""
    (tmp_path / "sweep.json").write_text(json.dumps({"data": str(synthetic.resolve()), "runs": {}}))
    (tmp_path / "runs").write_text("a file where a folder must be")
    settings = [*SETTINGS, "federation.rounds=1"]
    for jobs in (1, 2):
        with pytest.raises(NotADirectoryError) as error:
            list(sweep_grid("fecosr", ["loss.lam=0,0.3"], 1, settings, synthetic, tmp_path, quiet, jobs=jobs))
        assert str(error.value.filename).startswith(str(tmp_path / "runs"))


@pytest.mark.parametrize("content", ["{}", "[]", '{"data": null}', '{"data": null, "runs": 3}', "nothing"])
def test_a_damaged_sweep_is_named(content: str, synthetic: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json"):
        list(sweep_grid("fecosr", ["loss.lam=0,0.3"], 1, SETTINGS, synthetic, tmp_path, quiet))


def test_points_of_a_grid() -> None:
    points = grid_points(["a.b=1,2", "c=[x,y],z"])
    assert [point.overrides for point in points] == [
        ("a.b=1", "c=[x,y]"),
        ("a.b=1", "c=z"),
        ("a.b=2", "c=[x,y]"),
        ("a.b=2", "c=z"),
    ]
    assert len({point.label for point in points}) == 4


@pytest.mark.parametrize("text", ["a.b", "=1", "a.b="])
def test_what_is_no_axis_of_a_grid(text: str) -> None:
    with pytest.raises(UserError, match="name a key and its values"):
        grid_points([text])


def test_axes() -> None:
    assert Axis.parse("loss.tau=0.05..0.5:log") == Axis("loss.tau", (), 0.05, 0.5, log=True)
    assert Axis.parse("encoder.layers=1..4") == Axis("encoder.layers", (), 1, 4, whole=True)
    assert Axis.parse("encoder.layers=1,2") == Axis("encoder.layers", ("1", "2"))

    assert Axis.parse("codes.global_levels=[64,32],[32]").choices == ("[64,32]", "[32]")


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (["loss.lamm=0..0.5"], "did you mean 'lam'"),
        (["loss.lam=0..1"], "loss.lam = 1"),
        (["loss.lam=0..0.5", "loss.lam=0.1,0.2"], "given twice"),
        (["seed=1,2"], "--seeds"),
        (["engine.kind=deploy,inline"], "on this machine"),
    ],
)
def test_what_no_trial_could_use_is_said_before_the_first(axes: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        next(optimise("fecosr", axes, 3, 1, SETTINGS, None, tmp_path / "out", True, quiet))
    assert not (tmp_path / "out").exists()


def test_a_grid_sets_no_seeds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--seeds"):
        next(sweep_grid("fecosr", ["seed=1,2"], 1, [], None, tmp_path / "out", quiet))


@pytest.mark.parametrize("text", ["a", "a=x..y", "a=2..1", "a=0..1:log", "a=1..2:lin", "a=0..inf"])
def test_what_is_no_axis(text: str) -> None:
    with pytest.raises(UserError, match=r"name a key|LOW"):
        Axis.parse(text)


def test_nothing_to_choose_by(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="validation chooses by federated"):
        next(sweep_grid("baselines", ["ease.lambdas=[1],[2]"], 1, [], None, tmp_path / "out", quiet))
    assert not (tmp_path / "out").exists()
