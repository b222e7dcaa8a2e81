"""Every command of the README, in its order, on small markets; what stands for a path there is one here."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import fedrec.recipe
from fedrec.cli.main import app, exit_code
from fedrec.data.synth import write_synthetic_markets
from fedrec.recipe import load_recipe, recipe_text
from fedrec.simulation.run import prepare_simulation
from tests.cli.test_begin import orders
from tests.conftest import QUICK, TINY

README = Path(__file__).parents[2] / "README.md"
# Not run here, but by the tests named.
ELSEWHERE = {
    "make demo": "tests/integration/test_run.py, the default recipe",
    "make test": "this is part of it",
    "fedrec bench table3 --data DIR --quick": "tests/cli/test_bench.py",
    "fedrec run fecosr --engine deploy --connection DIR/coordinator": "tests/deployment/test_run.py",
}
# What a line's placeholders are here, by the words that it begins with.
HERE = {
    "fedrec new": {"DIR": "project"},
    "fedrec data import": {"ORDERS.csv": "orders.csv", "DIR": "imported"},
    "fedrec run --resume": {"RUN": "begun"},
    "fedrec compare": {"RUN RUN RUN": "runs/seed-1 runs/floors", "--out DIR": "--out comparison"},
    "fedrec sweep grid": {"--out SWEEP": "--out sweep"},
    "fedrec sweep optimise": {"--out TUNED": "--out tuned", "--trials 30": "--trials 2"},
    "fedrec recommend": {"--market jp": "--market bravo", "--user USER": "--user bravo-00001"},
    "fedrec adapt": {"NEWDIR": "newcomers"},
    "fedrec deploy init": {"DIR": "deployment"},
}
GENERAL = {"DIR": "data", "RUN": "runs/seed-1"}
OUT = {"fedrec run floors": "runs/floors", "fedrec run fecosr": "runs/seed-1", "fedrec adapt": "runs/adapted"}


def lines() -> list[str]:
    """Commands of the README's code blocks, without their remarks."""
    blocks = re.findall(r"^```\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.split(r"\s{2,}#|\s{3,}", line)[0] for block in blocks for line in block.splitlines()]


def here(line: str) -> list[str]:
    """The line as it can be run here."""
    begin = max((words for words in {**HERE, **OUT} if line.startswith(words)), key=len, default="")
    special = HERE.get(begin, {})
    for old, new in [*special.items(), *(one for one in GENERAL.items() if one[0] not in special)]:
        line = re.sub(rf"(?<![\w/]){re.escape(old)}(?![\w.])", new, line)
    if begin in OUT and "--out" not in line:
        line += f" --out {OUT[begin]}"
    return shlex.split(line)


@pytest.mark.slow
def test_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def quicker(name: str) -> str:
        settings = [] if name == "floors" else [*QUICK, "evaluation.methods=[federated, local, popularity]"]
        return yaml.safe_dump(load_recipe_file(name, settings))

    def load_recipe_file(name: str, settings: list[str]) -> dict[str, object]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(recipe_text(name))
        made: dict[str, object] = load_recipe(str(path), settings).model_dump(mode="json")
        return made

    made = {name: quicker(name) for name in ("fecosr", "floors")}
    monkeypatch.setattr(fedrec.recipe, "recipe_text", lambda name: made.get(name) or recipe_text(name))
    monkeypatch.chdir(tmp_path)
    write_synthetic_markets(tmp_path / "data", TINY)
    write_synthetic_markets(tmp_path / "newcomers", replace(TINY, markets=("delta",)))
    orders(tmp_path / "orders.csv")
    prepare_simulation(load_recipe("fecosr", []), tmp_path / "data", tmp_path / "begun")
    ran = [line for line in lines() if line not in ELSEWHERE]
    assert len(ran) >= 16
    for line in ran:
        words = here(line)
        code = exit_code(lambda words=words: app(words[1:], standalone_mode=False))
        assert code == 0, f"{line}\n{' '.join(words)}\n{capsys.readouterr().err}"


def test_every_line_is_a_command_that_is_there() -> None:
    commands = {str(one.name or getattr(one.callback, "__name__", "")) for one in app.registered_commands}
    commands |= {str(group.name) for group in app.registered_groups}
    for line in lines():
        program, command = line.split()[:2]
        assert program == "make" or command in commands, line
    assert set(ELSEWHERE) <= set(lines())
