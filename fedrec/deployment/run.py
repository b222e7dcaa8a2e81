"""A recipe on a live SuperLink: started, followed, and left with the same run folder as in a simulation."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from fedrec.deployment.bundle import Bundle, own_bundle
from fedrec.deployment.connection import Connection, Control, RunStatus, UnreachableError
from fedrec.errors import RunError, UserError
from fedrec.files import run_name
from fedrec.progress import OnReply, ignore
from fedrec.recipe import Recipe, load_recipe, override_recipe, parse_recipe, plugins_of, recipe_json
from fedrec.runs.folder import RunFolder
from fedrec.runs.manifest import build_manifest, what_differs
from fedrec.runs.warm_start import keep_warm_start

ROUND_DEADLINE, STAGE_DEADLINE = 600.0, 3600.0  # seconds, where the recipe sets none: a host may be gone for good
_POLL_SECONDS = 1.0
_SILENCE_SECONDS = 60.0  # that a SuperLink may take to come back
_MAX_STARTS = 5  # of one run, where what led it was restarted
Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Deployment:
    """A recipe on a connection, checked and ready to run."""

    recipe: Recipe
    connection: Connection
    run: RunFolder
    markets: list[str]

    def start(self, on_reply: OnReply = ignore) -> dict[str, Any]:
        """Run to the end and return the summary. Raises :class:`RunError` when the run fails; an interruption stops it.

        A run whose SuperLink or leading process was restarted goes on from its last checkpoint, as a new run of
        Flower's. ``on_reply`` is not called: answers are in the run's events.
        """
        bundle = own_bundle(plugins_of(self.recipe))
        with self.connection.control() as control:
            for left in reversed(range(_MAX_STARTS)):
                status = self._lead(control, bundle)
                if status.completed:
                    return self.run.read_summary()
                if not status.lost or not left:
                    raise RunError(f"{status.details}; go on with `fedrec run --resume {self.run.path}`")
        raise AssertionError("the last start returns or raises")

    def _start(self, control: Control, bundle: Bundle, settings: dict[str, str]) -> int:
        """Have the SuperLink start the run, once: an answer that was lost may stand for a run that goes on."""
        unanswered = False

        def ask() -> int:
            nonlocal unanswered
            if unanswered:
                control.stop_unanswered(settings["run"])
            try:
                return control.start(bundle, settings)
            except UnreachableError:
                unanswered = True
                raise

        return _patiently(ask)

    def _lead(self, control: Control, bundle: Bundle) -> RunStatus:
        """Start the run once and follow it to its end, whatever that is."""
        keys = {market: pem for market, pem in self.connection.keys().items() if market in self.markets}
        settings = {
            "recipe": recipe_json(self.recipe),
            "run": self.run.path.name,
            "markets": ",".join(keys),
            "keys": json.dumps(keys, sort_keys=True),
            "dataset": self.connection.path.parent.resolve().name,
        }
        number = None
        try:
            number = self._start(control, bundle, settings)
            self.run.event("submitted", run=number, bundle=bundle.hash)
            status = _follow(control, number)
        except KeyboardInterrupt:
            if number is not None:
                control.stop(number)
            self.run.event("ended", run=number, completed=False, reason="interrupted")
            raise
        reason = " ".join(status.details.split())[:300] or "it was stopped"
        self.run.event("ended", run=number, completed=status.completed, reason="" if status.completed else reason)
        return replace(status, details=f"run {number} failed: {reason}")


def prepare_deployment(
    recipe: Recipe, connection: str, out: Path | None, name: str, warm_start: Path | None = None
) -> Deployment:
    """Create the run folder. Raises :class:`UserError` for what cannot be run on hosts of their own.

    Without ``out`` the folder is ``name`` among the connection's runs; with it, it must lie there. ``warm_start``: the
    run whose shared model the rounds begin with.
    """
    opened = Connection.open(connection)
    path = opened.runs / name if out is None else out.resolve()
    if path.parent != opened.runs:
        raise UserError(f"--out {out}: runs of this connection lie in {opened.runs}; name a folder in it")
    run_name(path.name)
    ready = deployed(recipe)
    _reach(opened)
    run = RunFolder.create(path, ready)
    deployment = {"connection": str(opened.path.parent.resolve()), "markets": sorted(opened.markets)}
    try:
        if warm_start is not None:
            keep_warm_start(run, warm_start, ready)
        began_with = warm_start and warm_start.resolve()
        run.write_manifest(build_manifest(ready, None, {}, "", warm_start=began_with, deployment=deployment))
    except BaseException:
        shutil.rmtree(path)
        raise
    return Deployment(ready, opened, run, sorted(opened.markets))


def resume_deployment(path: Path) -> Deployment:
    """Take up a deployed run that was interrupted, as a new run of Flower's from our own checkpoint."""
    run = RunFolder.open(path)
    if run.summary.is_file():
        raise UserError(f"{path}: finished already; its figures: `fedrec report {path}`")
    manifest = run.read_manifest()
    recipe = load_recipe(str(path / "recipe.yaml"))
    connection = Connection.open(manifest["deployment"]["connection"])
    if path.resolve().parent != connection.runs:
        raise UserError(f"{path}: was moved; runs of its connection lie in {connection.runs}")
    markets = manifest["deployment"]["markets"]
    gone = [market for market in markets if market not in connection.markets]
    if gone:
        raise UserError(f"{path}: began with market {gone[0]!r}, which {connection.path} has no more; start a new run")
    began = parse_recipe(manifest["recipe"], str(path / "manifest.json"))
    differs = [what_differs(manifest, recipe, began.resolved(*allowed), {}, "") for allowed in _ALLOWED]
    if all(differs):
        raise UserError(f"{path}: cannot go on: {differs[0]}; put it back, or start a new run")
    _reach(connection)
    return Deployment(recipe, connection, run, markets)


_ALLOWED = [(families, text) for families in (False, True) for text in (False, True)]  # what the markets may have


def deployed(recipe: Recipe) -> Recipe:
    """The recipe as it runs on hosts of their own; raises :class:`UserError` where it cannot."""
    if "pooled" in recipe.evaluation.methods:
        raise UserError("evaluation.methods: 'pooled' needs all histories in one place; leave it out of a deployment")
    if recipe.federation.faults.dropout or recipe.federation.faults.late:
        raise UserError("federation.faults: simulated trouble is for simulations; remove it")
    settings = recipe.federation
    deadlines = {
        "deadline_seconds": settings.deadline_seconds or ROUND_DEADLINE,
        "stage_deadline_seconds": settings.stage_deadline_seconds or STAGE_DEADLINE,
    }
    return override_recipe(recipe, {"engine": {"kind": "deploy"}, "federation": deadlines}, [])


def _reach(connection: Connection) -> None:
    """What is wrong with keys, and a SuperLink that is not there, are said here."""
    with connection.control() as control:
        control.nodes()


def _patiently(ask: Callable[[], Asked]) -> Asked:
    """What a SuperLink answers; one that is silent is given a while to come back."""
    began = time.monotonic()
    while True:
        try:
            return ask()
        except UnreachableError:
            if time.monotonic() - began > _SILENCE_SECONDS:
                raise
        time.sleep(_POLL_SECONDS)


def _follow(control: Control, number: int) -> RunStatus:
    """Wait until the run has ended, or its SuperLink is gone for good."""
    while True:
        try:
            status = _patiently(lambda: control.status(number))
        except UnreachableError as error:
            return RunStatus(ended=True, completed=False, details=str(error))
        if status.ended:
            return status
        time.sleep(_POLL_SECONDS)
