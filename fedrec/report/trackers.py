"""Runs in TensorBoard, MLflow and Weights & Biases, for who keeps all experiments there. Extras, and off by default.

What they are told is what the coordinator knows anyway: rounds, and means over users. Where it goes is the tracker's
own setting (``MLFLOW_TRACKING_URI``, ``WANDB_MODE``); TensorBoard writes into the run's folder.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedrec.components.registry import components, nearest
from fedrec.components.tracker import Tracker
from fedrec.errors import UserError
from fedrec.files import read_json, read_json_lines, write_json
from fedrec.report.following import Event

Measures = Mapping[str, float]
Log = Callable[[Measures, int], object]  # figures by name, and the step
_IDENTITIES = "trackers.json"  # in the run folder: by tracker, so that a run that goes on is the same run there


class FigureTracker(Tracker):
    """Turns events into figures; :meth:`_open` connects it to one of the trackers."""

    def __init__(self, run: Path, recipe: Mapping[str, Any]) -> None:
        super().__init__(run, recipe)
        self._recipe = {name: str(value) for name, value in recipe.items()}
        self._log: Log = lambda _measures, _step: None
        self._step = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Connected, and disconnected whatever happens. A run that goes on counts its rounds on."""
        self._step = sum(one["event"] == "round" for one in read_json_lines(self.run / "events.jsonl"))
        with self._open() as self._log:
            yield

    def event(self, event: Event) -> None:
        """Figures of a round, and at the end those of test users."""
        if event["event"] == "round":
            self._step += 1
            names = ("validation_before", "drift", "seconds", "train_seconds", "bytes_up", "bytes_down")
            figures = {f"{event['stage']}/{name}": event[name] for name in names if event.get(name) is not None}
            self._log({**figures, f"{event['stage']}/rejected": len(event["rejected"])}, self._step)
        elif event["event"] == "finished":
            self._log(figures_on_test(read_json(self.run / "summary.json")), self._step)

    def _open(self) -> Any:
        raise NotImplementedError

    def _identities(self) -> dict[str, str]:
        """The trackers' own names of this run, as far as earlier starts have them."""
        file = self.run / _IDENTITIES
        return read_json(file) if file.is_file() else {}

    def _identity(self) -> str | None:
        return self._identities().get(type(self).__name__)

    def _keep_identity(self, name: str) -> None:
        write_json(self.run / _IDENTITIES, {**self._identities(), type(self).__name__: name})


def figures_on_test(summary: Mapping[str, Any]) -> dict[str, float]:
    """Means over markets, and every market's, under names that all trackers take."""
    found = {"mean": summary["mean"], **{name: one["results"] for name, one in summary["markets"].items()}}
    return {
        f"{market}/{method}/{metric.replace('@', '_at_')}": value
        for market, methods in found.items()
        for method, metrics in methods.items()
        for metric, value in metrics.items()
    }


class TensorBoard(FigureTracker):
    """Scalars below ``RUN/tensorboard``."""

    package = "tensorboard"

    @contextmanager
    def _open(self) -> Iterator[Log]:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.run / "tensorboard")) as writer:
            lines = "\n".join(f"    {name}: {value}" for name, value in self._recipe.items())
            writer.add_text("recipe", lines)

            def log(measures: Measures, step: int) -> None:
                for name, value in measures.items():
                    writer.add_scalar(name, value, step)

            yield log


class MlFlow(FigureTracker):
    """A run named as the folder, in the experiment ``fedrec``."""

    package = "mlflow"

    @contextmanager
    def _open(self) -> Iterator[Log]:
        import mlflow

        mlflow.set_experiment("fedrec")
        known = self._take_up(mlflow)
        with known or mlflow.start_run(run_name=self.run.resolve().name) as started:
            if known is None:  # MLflow refuses other values later, and a recipe's `auto` is resolved then
                self._keep_identity(started.info.run_id)
                mlflow.log_params(self._recipe)
            yield lambda measures, step: mlflow.log_metrics({name: float(v) for name, v in measures.items()}, step=step)

    def _take_up(self, mlflow: Any) -> Any:
        """The run that an earlier start opened; None where there is none, or the tracking store is another one."""
        known = self._identity()
        try:
            return mlflow.start_run(run_id=known) if known else None
        except mlflow.MlflowException:
            return None


class Wandb(FigureTracker):
    """A run named as the folder, in the project ``fedrec``."""

    package = "wandb"

    @contextmanager
    def _open(self) -> Iterator[Log]:
        import wandb

        started = wandb.init(
            project="fedrec",
            name=self.run.resolve().name,
            config=self._recipe,
            dir=str(self.run),
            id=self._identity(),
            resume="allow",
        )
        self._keep_identity(started.id)
        try:
            yield lambda measures, step: started.log(dict(measures), step=step)
        finally:
            started.finish()


def make_trackers(names: str | None, run: Path, recipe: Mapping[str, Any]) -> list[Tracker]:
    """Those of a comma-separated list; raises :class:`UserError` for one that is unknown or not installed."""
    from importlib.util import find_spec

    found, known = [], components("tracker")
    for name in (names or "").split(",") if names else []:
        if name not in known:
            raise UserError(f"--track {name!r}: unknown{nearest(name, list(known))}")
        tracker: type[Tracker] = known[name].load()
        if tracker.package is not None and find_spec(tracker.package) is None:
            raise UserError(
                f"--track {name}: not installed; install fedrec with its extra: `pip install '.[{name}]'` in its folder"
            )
        found.append(tracker(run, recipe))
    return found
