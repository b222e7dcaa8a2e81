"""Rounds of our FeCoSR-style recipe without S2CE, engine by engine; what a round does beside training is in it."""

import json
import sys
import tempfile
from pathlib import Path

import torch
from common import SIZES, told
from fedrec_epoch import overrides

import fedrec
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation

if __name__ == "__main__":
    folder, rounds, sizes = Path(sys.argv[1]), int(sys.argv[2]), {**SIZES, **json.loads(sys.argv[3])}
    loop = [f"federation.rounds={rounds}", f"federation.patience={rounds}", f"engine.kind={sizes['engine']}"]
    recipe = load_recipe("fecosr", [*overrides(sizes), *loop, "finetune.epochs=1", "evaluation.methods=[federated]"])
    with tempfile.TemporaryDirectory() as scratch:
        summary = prepare_simulation(recipe, folder, Path(scratch) / "run").start()
    told([one["seconds"] for one in summary["rounds"]], fedrec=fedrec.__version__, torch=torch.__version__)
