"""What damage is done to: a small data folder and finished runs on it, made once in every process."""

import atexit
import contextlib
import functools
import io
import shutil
import tempfile
from pathlib import Path

from fedrec.data.families import write_own_families
from fedrec.data.store import open_stores
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation

_MARKETS = SynthSettings(("alfa", "bravo"), users=24, items=40, topics=4, length=6, skew=0.9, seed=3)
_SMALL = [
    "model.dimension=8", "encoder.heads=1", "encoder.layers=1", "model.bottleneck=2", "semantics.dimension=8",
    "semantics.kind=cooccurrence", "loss.neighbours=5", "federation.rounds=2", "finetune.epochs=1", "ease.lambdas=[10]",
    "ease.popularity_weights=[0.0]", "fedease.lambdas=[10]", "evaluation.resamples=10", "training.device=cpu",
    "evaluation.methods=[federated, fedease, popularity]",
]  # fmt: skip
BASELINES = ["evaluation.methods=[popularity]", "evaluation.resamples=10", "training.device=cpu"]


@functools.cache
def ground() -> Path:
    """A folder with ``data``, and finished runs ``federated/run`` and ``baselines/run``; the latter holds its data."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-ground-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_synthetic_markets(folder / "data", _MARKETS)
    write_own_families(open_stores(folder / "data"))
    with contextlib.redirect_stdout(io.StringIO()):
        for name, overrides in (("fecosr", _SMALL), ("baselines", BASELINES)):
            out = folder / ("baselines" if name == "baselines" else "federated") / "run"
            prepare_simulation(load_recipe(name, overrides), folder / "data", out).start()
    shutil.copytree(folder / "data", folder / "baselines" / "run" / "data")
    return folder
