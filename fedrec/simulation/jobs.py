"""Several runs at a time, each in a process of its own, their results in the order in which they were asked for."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from fedrec.errors import FedrecError, RunError, UserError
from fedrec.offline import go_offline
from fedrec.processes import end_with_parent
from fedrec.progress import Progress
from fedrec.recipe import Recipe, parse_recipe
from fedrec.runs.folder import RunFolder

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch may hang


@dataclass(frozen=True)
class Job:
    """One run: what it is, on which data, where, and its name for people."""

    recipe: Recipe
    data: Path | None
    path: Path
    name: str


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    result: Connection


def run_jobs(jobs: Sequence[Job], at_once: int, progress: Progress) -> Iterator[RunFolder]:
    """The finished run of every job, in order, while up to ``at_once`` of them are computed.

    What is finished is not done again, and what was begun is resumed. ``progress`` hears of every job that is begun.
    An error of one ends all: the first that failed is raised as it was, and what the others did can be resumed.
    """
    waiting = list(jobs)
    running: list[_Running] = []
    done: set[Path] = set()
    try:
        for job in jobs:
            while job.path not in done:
                while waiting and len(running) < at_once:
                    progress(f"run {len(jobs) - len(waiting) + 1} of {len(jobs)}: {waiting[0].name}")
                    running.append(_start(waiting.pop(0)))
                for ready in wait([one.result for one in running]):
                    one = next(one for one in running if one.result is ready)
                    running.remove(one)
                    _finish(one)
                    done.add(one.job.path)
            yield RunFolder.open(job.path)
    finally:
        for one in running:
            one.process.kill()
            one.process.join()


def _start(job: Job) -> _Running:
    ours, theirs = _SPAWN.Pipe(duplex=False)
    arguments = (theirs, os.getpid(), job.recipe.model_dump(mode="json"), job.data, job.path)
    process = _SPAWN.Process(target=_run, args=arguments, name="fedrec-run")
    process.start()
    theirs.close()
    return _Running(job, process, ours)


def _finish(one: _Running) -> None:
    """Raise what the process met, if it met anything."""
    try:
        kind, told = one.result.recv()
    except EOFError:
        one.process.join()
        code = one.process.exitcode
        raise RunError(f"{one.job.path}: its process ended with exit code {code}; call again to go on") from None
    one.process.join()
    if kind == "user":
        raise UserError(told)
    if kind == "run":
        raise RunError(told)
    if kind == "file":
        raise OSError(*told)


def _run(result: Connection, parent: int, recipe: dict[str, object], data: Path | None, path: Path) -> None:
    """What a process does: one run, and one word of how it ended."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    go_offline()  # before Flower is imported
    from fedrec.simulation.complete import complete

    try:
        complete(parse_recipe(recipe, str(path)), data, path)
    except UserError as error:
        result.send(("user", str(error)))
    except FedrecError as error:
        result.send(("run", f"{error} (run folder: {path})"))
    except OSError as error:
        named = None if error.filename is None else str(error.filename)
        result.send(("file", (error.errno, error.strerror or str(error), named)))
    else:
        result.send(("done", ""))
