"""``fedrec sweep optimise``: Optuna proposes, validation chooses, trials that lag behind are given up.

Everything is in the sweep's folder: Optuna's journal (``study.log``, lines of JSON) and a run folder a trial. What was
interrupted goes on: a trial that was running keeps its values, and its run is resumed. Each proposal is drawn by a
sampler seeded with the trial's number, so that an interruption changes nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from fedrec.errors import RunError, UserError
from fedrec.files import JsonLines, read_json, write_json
from fedrec.progress import OnReply, Progress, ignore, no_progress
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.runs.folder import RunFolder
from fedrec.seeds import derive_seed
from fedrec.simulation.complete import complete
from fedrec.simulation.sweep import Done, Point, refuse_fixed, run_path
from fedrec.simulation.tuning import Tried, ranked, require_tunable, split_values, write_best, write_tried

_STARTUP = 5  # trials before any is given up
_WARM_UP = 3  # rounds of a trial before it is


@dataclass(frozen=True)
class Axis:
    """What one key may be: one of ``choices``, or a number from ``low`` to ``high``."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """``key=a,b,c`` or ``key=LOW..HIGH``, ending in ``:log`` for a logarithmic scale.

        Between numbers without a point only whole ones are tried: ``0..1`` is 0 or 1, ``0.0..1.0`` all between.
        """
        key, sign, values = text.partition("=")
        if not key or not sign or not values:
            raise UserError(f"{text!r}: name a key and what it may be, such as loss.lam=0..0.5 or encoder.layers=1,2,3")
        if ".." not in values:
            return cls(key, tuple(split_values(values)))
        span, _, scale = values.partition(":")
        low, _, high = span.partition("..")
        try:
            numbers = float(low), float(high)
        except ValueError:
            raise UserError(f"{text!r}: a range is LOW..HIGH of numbers, such as loss.tau=0.05..0.5:log") from None
        log, whole = scale == "log", all(part.lstrip("-").isdecimal() for part in (low, high))
        if scale not in {"", "log"} or not -math.inf < numbers[0] < numbers[1] < math.inf or (log and numbers[0] <= 0):
            raise UserError(f"{text!r}: LOW below HIGH, then nothing or :log, and for :log LOW above zero")
        return cls(key, (), *numbers, log, whole)

    def suggest(self, trial: Trial) -> str:
        """The override that a trial is to try."""
        if self.choices:
            value: object = trial.suggest_categorical(self.key, self.choices)
        elif self.whole:
            value = trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        else:
            value = trial.suggest_float(self.key, self.low, self.high, log=self.log)
        return f"{self.key}={value}"


def optimise(
    reference: str,
    axes: Sequence[str],
    trials: int,
    seeds: int,
    overrides: Sequence[str],
    data: Path | None,
    out: Path,
    prune: bool,
    progress: Progress,
    details: Progress = no_progress,
) -> Iterator[list[Tried]]:
    """Run what is missing of ``trials``; after each the finished ones, best first, and files written anew.

    The first seed of a trial is given up where ``prune`` and its validation lies below the median of earlier trials
    after as many rounds. ``progress`` hears of every trial, ``details`` of every event in it. Raises :class:`UserError`
    where ``out`` holds something else.
    """
    require_tunable(reference, overrides)
    space = [Axis.parse(text) for text in axes]
    keys = [axis.key for axis in space]
    double = next((key for key in keys if keys.count(key) > 1), None)
    if double is not None:
        raise UserError(f"{double}: is given twice; leave one of them out")
    for axis in space:  # what no trial could use is said before the first
        for value in axis.choices or (axis.low, axis.high):
            text = f"{int(value)}" if axis.whole else f"{value}"
            _recipe(reference, [*overrides, f"{axis.key}={text}"], 0)
    _claim(out, reference, axes, seeds, overrides, data)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(out / "study.log"))),
        study_name="fedrec",
        direction="maximize",
        pruner=MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=_WARM_UP),
        load_if_exists=True,
    )
    finished: list[Tried] = []
    for number in range(trials):
        known = study.get_trials(deepcopy=False)
        study.sampler = TPESampler(seed=derive_seed(0, "trial", number) % 2**32, n_startup_trials=_STARTUP)
        # One that was running when the sweep was interrupted keeps the values that it was given.
        trial = Trial(study, known[number]._trial_id) if number < len(known) else study.ask()
        state = known[number].state if number < len(known) else TrialState.RUNNING
        values = [
            axis.suggest(trial) if state == TrialState.RUNNING else f"{axis.key}={known[number].params[axis.key]}"
            for axis in space
        ]
        point = Point(f"trial-{number:03d}", tuple(values))
        if state == TrialState.RUNNING:
            progress(f"trial {number + 1} of {trials}: {' '.join(values)}")
            lead = _Lead(trial, set(known[number].intermediate_values) if number < len(known) else set(), prune)
            tried = _try(point, reference, seeds, overrides, data, out, lead, progress, details)
            if tried is None:
                study.tell(trial, state=TrialState.PRUNED if lead.pruned else TrialState.FAIL)
                continue
            study.tell(trial, tried.validation)
            finished.append(tried)
        elif state == TrialState.COMPLETE:
            finished.append(_read(point, seeds, out))
        else:
            continue
        finished = ranked(finished)
        write_tried(out, finished)
        write_best(out, reference, overrides, finished[0].point)
        yield finished
    if not finished:
        raise RunError(f"{out}: no trial was finished; the reasons are in runs/*/events.jsonl")


class _Lead:
    """Watches a trial's rounds; ends it where the pruner says so."""

    def __init__(self, trial: Trial, reported: set[int], prune: bool) -> None:
        self._trial = trial
        self._reported = reported
        self._prune = prune
        self.pruned = False

    def follow(self, path: Path) -> OnReply:
        """To be called at every answer of a market in the run at ``path``."""
        lines = JsonLines(RunFolder(path).events)

        def answered(_market: str, _action: str) -> None:
            for event in lines.read():
                if event["event"] != "round" or event["stage"] != "pretrain" or event["validation_before"] is None:
                    continue
                if event["validated"] not in self._reported:
                    self._reported.add(event["validated"])
                    self._trial.report(event["validation_before"], event["validated"])
                if self._prune and self._trial.should_prune():
                    self.pruned = True
                    raise optuna.TrialPruned(
                        f"given up after round {event['validated']}: below the median of earlier trials"
                    )

        return answered


def _try(
    point: Point,
    reference: str,
    seeds: int,
    overrides: Sequence[str],
    data: Path | None,
    out: Path,
    lead: _Lead,
    progress: Progress,
    details: Progress,
) -> Tried | None:
    """A point under every seed; None where it was given up or its run failed."""
    for seed in range(seeds):
        path = run_path(out, point, seed)
        try:
            recipe = _recipe(reference, [*overrides, *point.overrides], seed)
        except UserError as error:  # keys that are in conflict in this trial alone
            progress(f"{point.label}: {error}")
            return None
        try:
            complete(recipe, data, path, details, lead.follow(path) if seed == 0 else ignore)
        except (optuna.TrialPruned, RunError) as error:
            progress(f"{point.label}: {error}")
            return None
    return _read(point, seeds, out)


def _recipe(reference: str, overrides: Sequence[str], seed: int) -> Recipe:
    refuse_fixed(overrides)
    return load_recipe(reference, [*overrides, f"seed={seed}"])


def _read(point: Point, seeds: int, out: Path) -> Tried:
    """A point whose runs are all finished."""
    return Tried(point, [Done.read(point, seed, RunFolder.open(run_path(out, point, seed))) for seed in range(seeds)])


def _claim(
    out: Path, reference: str, axes: Sequence[str], seeds: int, overrides: Sequence[str], data: Path | None
) -> None:
    """Write down what the sweep is made of; more trials may be asked for later, but nothing else may change."""
    path = out / "optimise.json"
    wanted = {
        "recipe": recipe_json(load_recipe(reference, overrides)),
        "axes": list(axes),
        "seeds": seeds,
        "data": None if data is None else str(data.resolve()),
    }
    if path.is_file():
        known = read_json(path)
        changed = sorted(name for name, value in wanted.items() if known.get(name) != value)
        if changed:
            raise UserError(f"{path}: was begun with other {changed[0]}; choose another --out")
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: not empty, and no sweep of this kind; choose another --out")
    write_json(path, wanted)
