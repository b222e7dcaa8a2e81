"""Every command that README and docs show is known, and run: here, in order, or by the test that is named."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import click
import pytest
import typer
import yaml

import fedrec.recipe.loading
from fedrec.cli.main import app, exit_code
from fedrec.data.synth import write_synthetic_markets
from fedrec.deployment.bundle import own_bundle
from fedrec.recipe import load_recipe, recipe_names, recipe_text
from fedrec.simulation.run import prepare_simulation
from tests.cli.test_begin import orders
from tests.conftest import QUICK, TINY

ROOT = Path(__file__).parents[2]
# The tutorial is run by test_begin.py; what docs/results shows are measurements of minutes to hours.
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "how-to" / "deploy.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "deploy.md"),
]
RUN_HERE = [page for page in PAGES if page.name != "tutorial.md" and page.parent.name != "results"]
# Not run here, but by the tests named. A command ends where its remark begins.
ELSEWHERE = {
    "make demo": "integration/test_run.py::test_the_demo_of_the_command_line",
    "fedrec --install-completion": "cli/test_begin.py::test_completion",
    "fedrec data import KIND SRC DIR": "data/test_tabular.py::test_parquet_and_csv_give_the_same_stores",
    "fedrec bench table3 --data DIR --quick": "cli/test_bench.py::test_quick_is_japan_and_india_on_one_split",
    "fedrec sweep privacy fecosr --data DIR --out SWEEP --epsilon inf,8,2": (
        "integration/test_audit.py::test_a_sweep_goes_on_where_it_stopped"
    ),
    "fedrec sweep contributions fecosr --data DIR --out JOIN": (
        "integration/test_contributions.py::test_every_figure_is_a_mean_of_paired_differences"
    ),
    "fedrec run fecosr --engine deploy --connection DIR/coordinator": (
        "deployment/test_run.py::test_the_summary_is_that_of_one_process"
    ),
    "fedrec run fecosr --engine deploy --connection /deployment": (
        "deployment/test_run.py::test_the_summary_is_that_of_one_process"
    ),
    "fedrec run fecosr --engine deploy --connection /deployment --warm-start /deployment/runs/RUN": (
        "deployment/test_run.py::test_retraining_begins_with_the_last_model"
    ),
    "fedrec run --resume /deployment/runs/RUN": (
        "deployment/test_faults.py::test_an_interruption_stops_the_run_and_it_can_go_on"
    ),
    "fedrec run --data DIR --engine ray --set ray.address=ADDRESS:6379 --out RUN": (
        "integration/test_ray_cluster.py::test_a_run_over_two_nodes_equals_inline_and_one_node_may_be_lost"
    ),
    "fedrec deploy check jp": "deployment/test_run.py::test_check_sees_the_superlink",
    "fedrec audit RUN --black-box 400": ("integration/test_black_box.py::test_answers_prove_no_more_than_is_stated"),
    "make sbom": "containers/test_image.py::test_the_bill_of_materials_names_every_package",
    "make lock": "deployment/test_files.py::test_the_image_is_locked_to_what_was_tested",
    "fedrec deploy nodes /deployment": "deployment/test_day_two.py::test_day_two",
    "fedrec recommend jp/state/RUN --market jp --data jp/data --user USER": (
        "deployment/test_run.py::test_recommendations_on_the_markets_own_host"
    ),
    "fedrec ledger jp/state/RUN": "deployment/test_run.py::test_recommendations_on_the_markets_own_host",
    # of components that only their page knows, or only named
    "fedrec data import movielens ratings.dat DIR --market us": (
        "plugin/test_simulated.py::test_its_importer_and_its_tracker"
    ),
    "fedrec audit RUN --attack norms": "plugin/test_simulated.py::test_its_attack",
    "fedrec run --track printed": "plugin/test_simulated.py::test_its_importer_and_its_tracker",
    "fedrec run --resume": "integration/test_resume.py::test_a_killed_run_ends_as_if_nothing_had_happened",
    "fedrec run --engine deploy": "deployment/test_run.py::test_the_summary_is_that_of_one_process",
    "fedrec deploy bundle with-mean.fab --plugin mypackage": (
        "plugin/test_deployed.py::test_the_hosts_run_what_their_operators_approved"
    ),
    "fedrec deploy approve PART --bundle with-mean.fab --yes HASH": (
        "plugin/test_deployed.py::test_the_hosts_run_what_their_operators_approved"
    ),
    "fedrec run RECIPE --engine deploy --connection DIR/coordinator": (
        "deployment/test_run.py::test_the_summary_is_that_of_one_process"
    ),
    "fedrec ledger STATE/RUN": "deployment/test_run.py::test_recommendations_on_the_markets_own_host",
}
# What a command's placeholders are here, by the words that it begins with.
HERE = {
    "fedrec new": {"DIR": "project"},
    "fedrec new plugin": {"NAME": "own-parts"},
    "fedrec data import": {"ORDERS.csv": "orders.csv", "imported": "imported-again", "DIR": "imported"},
    "fedrec run --resume": {"RUN": "begun"},
    "fedrec run fecosr --data DIR --warm-start RUN": {"--warm-start RUN": "--warm-start runs/seed-1 --seed 1"},
    "fedrec compare": {"RUN RUN RUN": "runs/seed-1 runs/baselines", "--out DIR": "--out comparison"},
    "fedrec sweep grid": {"--out SWEEP": "--out sweep"},
    "fedrec sweep optimise": {"--out TUNED": "--out tuned", "--trials 30": "--trials 2"},
    "fedrec recommend": {"--market jp": "--market bravo", "USER": "bravo-00001"},
    "fedrec forget": {
        "--market jp": "--market bravo",
        "USER": "bravo-00001",
        "NEWDATA": "less",
        "NEWRUN": "runs/forgotten",
    },
    "fedrec adapt": {"NEWDIR": "newcomers", "DATA": "newcomers"},
    "fedrec data synth": {"DIR": "synthetic"},
    "fedrec data families": {"DIR": "imported"},
    "fedrec deploy init DIR": {"DIR": "deployment"},
    "fedrec deploy init --masks": {"--masks": "masked --markets jp,in --masks"},
    "fedrec deploy approve": {"jp": "europe/markets/jp", "PART": "europe/coordinator"},
    "fedrec deploy bundle": {"europe.fab": "own.fab"},
}
GENERAL = {"DIR": "data", "RUN": "runs/seed-1"}
PATHS = {
    "fedrec run baselines": "runs/baselines",
    "fedrec run fecosr --data DIR --seed 1": "runs/seed-1",
    "fedrec run fecosr --data DIR --warm-start RUN": "runs/warm",
    "fedrec adapt RUN NEWDIR": "runs/adapted",
}
NAMES = [name for name in recipe_names() if name != "baselines"]


def shown(page: Path) -> Iterator[str]:
    """Commands of a page, those of its code blocks and those within its text."""
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    lines = [line for block in fence.findall(text) for line in block.splitlines()]
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", fence.sub("", text))]
    for line in " && ".join(lines).split(" && "):
        # what a container is asked to do is what is shown
        command = re.sub(r"^docker compose exec \w+ ", "", re.split(r"\s{2,}#|\s{3,}", line)[0])
        if re.match(r"(fedrec|make|python benchmarks/\S+) \S", command) and "..." not in command:
            yield command


def to_run() -> list[str]:
    """Commands of fedrec to be run here: those that are shown with what they are about, and not only named."""
    every = dict.fromkeys(command for page in RUN_HERE for command in shown(page) if command.startswith("fedrec "))
    return [command for command in every if command not in ELSEWHERE and known(shlex.split(command)[1:])[1]]


def known(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words begin with, and the words after its name."""
    command: click.Command = typer.main.get_command(app)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_is_known(page: Path) -> None:
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    of_ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").split()
    for shown_command in shown(page):
        program, *words = shlex.split(shown_command)
        if program == "make":
            assert re.search(rf"^{words[0]}:", targets, re.MULTILINE), shown_command
            assert words[0] in of_ci or shown_command in ELSEWHERE, shown_command
            continue
        if program == "python":
            options = set(re.findall(r'add_argument\("(--[\w-]+)"', (ROOT / words[0]).read_text(encoding="utf-8")))
        else:
            command, words = known(words)
            options = {name for one in command.params for name in one.opts}
            settings = [value for name, value in pairwise(words) if name == "--set"]
            load_recipe("fecosr", [one for one in settings if not re.search(r"=[A-Z]", one)])
        assert {word for word in words if word.startswith("-")} <= options, shown_command


def test_commands_that_are_not_run_here_are_run_by_the_tests_named() -> None:
    assert set(ELSEWHERE) <= {command for page in RUN_HERE for command in shown(page)}
    for place in ELSEWHERE.values():
        path, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), place


def here(command: str) -> list[str]:
    """The command as it can be run here."""
    begin = max((words for words in HERE if command.startswith(words)), key=len, default="")
    path = next((path for words, path in PATHS.items() if command.startswith(words)), "")
    special = HERE.get(begin, {})
    for old, new in [*special.items(), *(one for one in GENERAL.items() if one[0] not in special)]:
        command = re.sub(rf"(?<![\w/]){re.escape(old)}(?![\w.])", new, command)
    return shlex.split(f"{command} --out {path}" if path and "--out" not in command else command)


@pytest.mark.slow
def test_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fits = {
        "fecosr": ["evaluation.methods=[federated, local, popularity]"],
        "ranker": ["finetune.epochs=0", "scores.kind=none"],
        "acmr": ["evaluation.protocol=temporal"],  # these catalogues have too few strangers for its own
    }
    made = {}
    for name in NAMES:
        smaller = load_recipe(name, [*QUICK, *fits.get(name, [])])
        made[name] = yaml.safe_dump(smaller.model_dump(mode="json"))
    monkeypatch.setattr(fedrec.recipe.loading, "recipe_text", lambda name: made.get(name) or recipe_text(name))
    monkeypatch.chdir(tmp_path)
    write_synthetic_markets(tmp_path / "data", TINY)
    write_synthetic_markets(tmp_path / "newcomers", replace(TINY, markets=("delta",)))
    orders(tmp_path / "orders.csv")
    (tmp_path / "europe.fab").write_bytes(own_bundle().data)
    prepare_simulation(load_recipe("fecosr", []), tmp_path / "data", tmp_path / "begun")
    for command in to_run():
        words = here(command)
        code = exit_code(lambda words=words: app(words[1:], standalone_mode=False))
        assert code == 0, f"{command}\n{' '.join(words)}\n{capsys.readouterr().err}"
