"""A new user's way: doctor, new, the tutorial's commands in order on a table made here, the schema, completion."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from fedrec.cli.main import app, exit_code
from fedrec.recipe import load_recipe, recipe_names, recipe_schema, recipe_text
from fedrec.simulation.tuning import grid_points, require_tunable
from tests.conftest import QUICK

ROOT = Path(__file__).parents[2]
COUNTRIES = {"fr": 60, "jp": 30, "mx": 20}


def run(*words: str) -> int:
    return exit_code(lambda: app(list(words), standalone_mode=False))


def orders(path: Path) -> None:
    """An order table as shops have them: strings, dates, names, and one customer whom the tutorial asks for."""
    generator = np.random.default_rng(5)
    kinds = ["Camera strap", "Lens cap", "Tripod", "Memory card"]
    rows = []
    for country, users in COUNTRIES.items():
        for user in range(users):
            kind = int(generator.integers(4))
            for step in range(8):
                kind = kind if generator.random() < 0.7 else int(generator.integers(4))
                item = 4 * int(generator.integers(6)) + kind
                moment = f"2025-{1 + step:02d}-{1 + int(generator.integers(27)):02d} {step:02d}:{user % 60:02d}:00"
                rows.append((str(4711 + user), f"A-{item}", moment, country, f"{kinds[kind]} {item}"))
    header = ["customer", "sku", "date", "country", "name"]
    pl.DataFrame(rows, schema=header, orient="row").write_csv(path)


def commands(page: Path) -> list[str]:
    """Lines of the page's code blocks."""
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def make_smaller(recipe: Path) -> None:
    """The same recipe in seconds."""
    settings = [*QUICK, "evaluation.protocol=temporal"]
    recipe.write_text(yaml.safe_dump(load_recipe(str(recipe), settings).model_dump(mode="json")))


def test_the_tutorial_from_the_first_command_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = commands(ROOT / "docs" / "tutorial.md")
    assert len(lines) == 17
    monkeypatch.chdir(tmp_path)
    printed = {}
    for line in lines:
        if line.startswith("cd "):
            monkeypatch.chdir(line.removeprefix("cd "))
            orders(Path("orders.csv"))
            make_smaller(Path("recipe.yaml"))
            continue
        code = run(*shlex.split(line)[1:])
        printed[line], told = capsys.readouterr()
        assert code == 0, f"{line}\n{told}"
    shop = tmp_path / "shop"
    assert (shop / "runs" / "together" / "report.html").is_file()
    assert (shop / "comparison" / "index.html").is_file()
    assert (shop / "sweep" / "best.yaml").is_file()
    described = printed["fedrec data describe data"]
    for country, users in COUNTRIES.items():
        assert re.search(rf"^{country}\s+{users}\s", described, re.MULTILINE)
    by_user, by_history, _ = (text for line, text in printed.items() if line.startswith("fedrec recommend"))
    assert len(re.findall(r"^\d+ +A-\d+", by_user, re.MULTILINE)) == 10
    items = re.findall(r"^\d+ +(A-\d+)", by_history, re.MULTILINE)
    assert len(items) == 5
    assert not {"A-17", "A-3"} & set(items)
    assert pl.read_parquet(shop / "fr.parquet")["user"].n_unique() == COUNTRIES["fr"]


def test_a_new_projects_readme_names_what_is_there(tmp_path: Path) -> None:
    assert run("new", str(tmp_path / "shop")) == 0
    assert run("new", str(tmp_path / "shop")) == 2
    assert load_recipe(str(tmp_path / "shop" / "recipe.yaml")) == load_recipe("fecosr")
    assert json.loads((tmp_path / "shop" / "recipe.schema.json").read_text()) == recipe_schema()
    lines = commands(tmp_path / "shop" / "README.md")
    known = {name for name in app_commands() if any(line.startswith(f"fedrec {name}") for line in lines)}
    assert known == {"data", "run", "compare", "recommend"}
    assert all(line.split()[1] in app_commands() for line in lines)
    assert run("new", str(tmp_path / "other"), "--recipe", "fecosrr") == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_projects_readme_sets_changes_its_recipe(name: str, tmp_path: Path) -> None:
    assert run("new", str(tmp_path / "shop"), "--recipe", name) == 0
    text = (tmp_path / "shop" / "README.md").read_text()
    for setting in set(re.findall(r"--set (\S+)", text)) - {"key.key=value`;"}:
        assert load_recipe(name, [setting]) != load_recipe(name)
    for axis in re.findall(r"sweep grid recipe.yaml (\S+)", text):
        assert len(grid_points([axis])) == 2
        require_tunable(name, [])
    assert ("fedrec recommend" in text) == (load_recipe(name).task == "sequential")


def test_a_project_in_the_folder_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("new", ".") == 0
    assert (tmp_path / "recipe.yaml").is_file()
    assert Path.cwd() == tmp_path


def app_commands() -> set[str]:
    named = {str(one.name or one.callback.__name__) for one in app.registered_commands if one.callback is not None}
    return named | {str(group.name) for group in app.registered_groups}


@pytest.mark.parametrize("name", recipe_names())
def test_the_schema_takes_every_shipped_recipe(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(recipe_schema())
    values = yaml.safe_load(recipe_text(name))
    assert list(validator.iter_errors(values)) == []
    assert list(validator.iter_errors({**values, "federatoin": {}}))
    assert list(validator.iter_errors({**values, "loss": {"lam": 2}}))


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("doctor") == 0
    assert re.search(r"^ok +flwr +\d", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.setattr("fedrec.cli.doctor.version", lambda name: "0.0.1" if name == "flwr" else "9")
    assert run("doctor") == 1
    told = capsys.readouterr()
    assert re.search(r"^problem +flwr +0\.0\.1, but fedrec is made for \d", told.out, re.MULTILINE)
    assert "problems: flwr" in told.err


def test_completion() -> None:
    environment = {**os.environ, "_FEDREC_COMPLETE": "complete_bash", "COMP_WORDS": "fedrec re", "COMP_CWORD": "1"}
    code = "from fedrec.cli.main import app; app(prog_name='fedrec')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["report", "recommend", "recipes"]
