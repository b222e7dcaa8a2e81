"""A run killed (SIGKILL) at a chosen point: ``python -m tests.integration.crash RECIPE POINT DATA OUT OVERRIDE...``.

Each point replaces one function by itself plus a kill, before or after it, the given time it is called.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ON_RAY_ONLY = {"answers arrive"}  # one market has answered, the others still train
INLINE_ONLY = {"market trains", "market fine-tunes", "local baseline trains", "market reports"}
REPLIES_BEFORE_ROUNDS = 15  # hello, and question and installation of semantics and of counts, by three markets each
POINTS = (
    "semantics asked",
    "semantics installed",
    "round asked",
    "market trains",
    "answers arrive",
    "round answered",
    "checkpoint begun",
    "checkpoint torn",
    "checkpoint done",
    "pretraining done",
    "model exported",
    "market fine-tunes",
    "fine-tuning done",
    "local baseline trains",
    "market reports",
    "summary begun",
)
CODES_POINTS = (
    "vectors are trained",
    "codebook round asked",
    "market trains a codebook",
    "codebook answered",
    "codebook checkpoint done",
    "codebook exported",
    "codes are made",
    "predictors are trained",
)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: Any, name: str, *, before: int = 0, after: int = 0) -> None:
    """Kill before the ``before``-th or after the ``after``-th call of ``owner.name``."""
    original = getattr(owner, name)
    calls = 0

    def replacement(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == before:
            kill()
        result = original(*arguments, **options)
        if calls == after:
            kill()
        return result

    setattr(owner, name, replacement)


def tear(path: Path, data: bytes) -> None:
    """What a file system without atomic rename might leave: half of the file under its own name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[: len(data) // 2])


def arm(point: str) -> None:
    """Set the trap."""
    import fedrec.server.coordinator as coordinator
    from fedrec.runs import folder
    from fedrec.runs.folder import RunFolder
    from fedrec.server.federation import Federation
    from fedrec.simulation.ray_engine import RayGrid
    from fedrec.strategies.shared_average import SharedAverage

    def torn_second_checkpoint() -> None:
        original = RunFolder.checkpoint

        def checkpoint(self: RunFolder, state: Any) -> None:
            if state.round == 2:
                honest = folder.write_atomic

                def write(path: Path, data: bytes) -> None:
                    if path.name == "shared.safetensors":
                        tear(path, data)
                        return
                    honest(path, data)

                folder.write_atomic = write
                original(self, state)  # complete in name, state.json and all, but one file is torn
                kill()
            original(self, state)

        RunFolder.checkpoint = checkpoint  # type: ignore[method-assign]

    traps: dict[str, Callable[[], None]] = {
        "semantics asked": lambda: wrap(Federation, "require", after=1),
        "semantics installed": lambda: wrap(coordinator, "write_items", before=1),
        "round asked": lambda: wrap(SharedAverage, "configure_train", after=2),
        "market trains": lambda: wrap_task("train.pretrain", 5),
        "answers arrive": lambda: wrap(RayGrid, "_deliver", before=REPLIES_BEFORE_ROUNDS + 4),
        "round answered": lambda: wrap(SharedAverage, "aggregate_train", before=2),
        "checkpoint begun": lambda: wrap(folder, "write_json", before=checkpoint_writes(2)),
        "checkpoint torn": torn_second_checkpoint,
        "checkpoint done": lambda: wrap(RunFolder, "checkpoint", after=2),
        "pretraining done": lambda: wrap(coordinator, "write_shared_model", before=1),
        "model exported": lambda: wrap(coordinator, "write_shared_model", after=1),
        "market fine-tunes": lambda: wrap_task("train.finetune", 2),
        "fine-tuning done": lambda: wrap(RunFolder, "write_journal", after=3),
        "local baseline trains": lambda: wrap_task("train.local", 2),
        "market reports": lambda: wrap_task("evaluate.report", 2),
        "summary begun": lambda: wrap(RunFolder, "write_summary", before=1),
        "vectors are trained": lambda: wrap_task("train.collaborative", 2),
        "codebook round asked": lambda: wrap(SharedAverage, "configure_train", after=3),
        "market trains a codebook": lambda: wrap_task("train.codebook", 8),
        "codebook answered": lambda: wrap(SharedAverage, "aggregate_train", before=3),
        "codebook checkpoint done": lambda: wrap(RunFolder, "checkpoint", after=3),
        "codebook exported": lambda: wrap(coordinator, "write_shared_model", after=1),
        "codes are made": lambda: wrap_task("train.codes", 2),
        "predictors are trained": lambda: wrap_task("train.ctr", 2),
    }
    traps[point]()


def checkpoint_writes(server_round: int) -> int:
    """JSON files the run folder writes before the state of that round: the manifest, the journal of the semantics."""
    return 2 + server_round


def wrap_task(action: str, call: int) -> None:
    """Kill the whole process when a market is asked for the ``call``-th time to do ``action`` (engine inline only)."""
    from fedrec.simulation import inline

    original = inline.InlineGrid._accept
    seen = 0

    def accept(self: Any, messages: dict[str, Any]) -> None:
        nonlocal seen
        for identifier, message in messages.items():
            if message.metadata.message_type == action:
                seen += 1
                if seen == call:
                    kill()
            original(self, {identifier: message})

    inline.InlineGrid._accept = accept  # type: ignore[method-assign]


def main() -> None:
    recipe, point, data, out, *overrides = sys.argv[1:]
    from fedrec.offline import go_offline
    from fedrec.recipe import load_recipe
    from fedrec.simulation.run import prepare_simulation

    go_offline()
    arm(point)
    prepare_simulation(load_recipe(recipe, overrides), Path(data), Path(out)).start()


if __name__ == "__main__":
    main()
