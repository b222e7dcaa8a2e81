"""The coordinator loads algorithms, and never what opens data."""

import subprocess
import sys

CODE = """
import sys
from fedrec.components.algorithm import algorithm_of
from fedrec.components.house import HOUSE
from fedrec.recipe import load_recipe

for kind in HOUSE["algorithm"]:
    recipe = kind if kind in {"fecosr", "codes", "fedease", "fedmm", "acmr", "ranker"} else "neumf"
    algorithm = algorithm_of(load_recipe(recipe, [f"algorithm.kind={kind}"]))
    algorithm.model()
    algorithm.plan()
    if kind not in {"fedmm", "fedease"}:  # whose coordinator makes codebooks or sums alone
        algorithm.build(5)
print([name for name in sys.modules if name.startswith(("fedrec.data", "fedrec.training", "fedrec.clients"))])
"""


def test_what_the_coordinator_asks_of_an_algorithm_opens_nothing():
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
