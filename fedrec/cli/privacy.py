"""``fedrec ledger``, ``audit`` and ``forget``: the commands of those who answer for privacy."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.files import read_json, read_json_lines, reading, write_atomic
from fedrec.offline import go_offline
from fedrec.report.audit import attack_rows, audit_lines, black_box_lines, black_box_rows
from fedrec.report.tables import print_lines, print_table

Run = Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")]


def audit(
    path: Run,
    left_out: Annotated[
        float, typer.Option(help="share of the users left out of the replay, where all took part in the run")
    ] = 0.2,
    attack: Annotated[
        list[str] | None, typer.Option(help="one of `fedrec components attack`; default: all that come with fedrec")
    ] = None,
    black_box: Annotated[
        int, typer.Option(help="instead: so many answers of a market with and without one user; what they prove")
    ] = 0,
    market: Annotated[str | None, typer.Option(help="of --black-box; default: the smallest")] = None,
) -> None:
    """Attack a finished run: what can server and peers tell of its users from what left the markets?"""
    go_offline()  # before Flower is imported
    if black_box or market is not None:
        _audit_answers(path, black_box, market)
        return
    from fedrec.simulation.audit import audit as audit_run

    console = Console(markup=False)
    with Console(stderr=True, markup=False).status("") as status:
        result = audit_run(path, left_out, status.update, attack or None)
    for controls, title in ((False, "Attacks"), (True, "Controls: is the audit itself sound?")):
        header, rows = attack_rows(result, controls)
        print_table(console, title, header, rows, "after a slash: what popularity elsewhere guesses; AUC .5 is chance")
    print_lines(console, [*audit_lines(result), f"every figure: {path}/audit.json"])


def _audit_answers(path: Path, runs: int, market: str | None) -> None:
    from fedrec.simulation.black_box import audit_answers

    with Console(stderr=True, markup=False).status("") as status:
        result = audit_answers(path, runs, market, status.update)
    header, rows = black_box_rows(result)
    console = Console(markup=False)
    print_table(console, f"Answers of {result['market']} with and without one user", header, rows)
    print_lines(console, [*black_box_lines(result), f"every figure: {path}/black-box.json"])


def ledger(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run, or of one in a market's private state")],
) -> None:
    """Write what left each market as a page, and print what somebody should look at."""
    from fedrec.recipe import load_recipe, parse_recipe
    from fedrec.report.html import size
    from fedrec.report.ledger import by_action, collect, flags, ledger_page
    from fedrec.runs.folder import RunFolder

    private = sorted(path.glob("markets/*/recipe.json"))
    own = bool(private) and not (path / "recipe.yaml").is_file()  # a market's private state, on its own host
    run = RunFolder(path) if own else RunFolder.open(path)
    missing = run.gather_ledgers()
    manifest = None if own else run.read_manifest()
    if manifest is not None and manifest["deployment"] is None:
        expected = sorted(manifest["data"]["hashes"])
        there = {entry.parent.name for entry in path.glob("markets/*/ledger.jsonl")}
        missing += [
            f"{path}/markets/{name}: no ledger; what left {name} is missing here"
            for name in expected
            if name not in there
        ]
    recipe = parse_recipe(read_json(private[0]), str(private[0])) if own else load_recipe(str(path / "recipe.yaml"))
    with reading(path / "ledger.jsonl"):
        lines = collect(read_json_lines(path / "ledger.jsonl"), recipe.algorithms)
    page = ledger_page(path.resolve().name, lines, recipe.privacy.on, recipe.masks.enabled)
    write_atomic(path / "ledger.html", page.encode())
    markets, table = by_action(lines)
    rows = [[action, *(size(found[market]) for market in markets)] for action, found in table]
    console = Console(markup=False)
    print_table(console, "What left the markets, by question", ["in answer to", *markets], rows)
    found = flags(lines, recipe.privacy.on) or ["nothing to look at: all of it was declared"]
    print_lines(console, [*missing, *found, f"the whole page: {path}/ledger.html"])


def forget(
    path: Run,
    market: Annotated[str, typer.Option(help="the user's market")],
    user: Annotated[str, typer.Option(help="who is to be forgotten")],
    data: Annotated[Path, typer.Option(help="new data folder, without the user")],
    out: Annotated[Path, typer.Option(help="new run folder, of a run on it")],
) -> None:
    """Train again as if a user had never been there; counts are checked by subtraction."""
    go_offline()  # before Flower is imported
    from fedrec.simulation.forget import forget as forget_user

    with Console(stderr=True, markup=False).status("") as status:
        done = forget_user(path, market, user, data, out, status.update)
    lines = [f"erased: {done.interactions} interactions; the data without them: {data}; the run on them: {out}"]
    if done.subtracted:
        lines.append(f"counts of {', '.join(done.subtracted)}: the old ones less this user's, to the last pair")
    lines.append("models: trained again from the beginning")
    if done.families == "rebuilt":
        lines.append("families: the map was made of these users; built again without this one")
    if done.families == "kept":
        lines.append(
            f"families: the map was given, and kept; if users made it, `fedrec data families {data}`, run again"
        )
    if done.texts:
        lines.append("item texts: kept; the import took what most rows said, and this user's were among them")
    lines.append(f"still holding the user, for you to delete: {path}, the data it was made from, and all copies")
    print_lines(Console(markup=False), lines)
