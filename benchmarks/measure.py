"""Measure tables of docs/results and README.md, and write them into their pages.

    python benchmarks/measure.py --list
    python benchmarks/measure.py TABLE... --data xmarket=DIR --data retail=DIR [--jobs 2] [--dry-run]
    python benchmarks/measure.py --all --data xmarket=DIR --data retail=DIR
    python benchmarks/measure.py --renew TABLE...
    python benchmarks/measure.py --fill

Measuring runs the commands that the tables need, one after the other; after each it fills every table that is made of
its rows. A command skips the rows that it has and resumes the run that was interrupted, so the same words go on where
they stopped. One that fails leaves its tables as they stand; the others go on, and the exit code is 1. `--dry-run`
prints the commands. `--fill` measures nothing and makes all tables of the rows that there are, even where seeds are
missing.

Rows carry their commit, but a command takes all of them for done, whatever the commit. So where definitions change
(what is held out, a metric, a default), first `--renew TABLE...` (or `--renew --all`): it moves the rows of the tables'
commands to benchmarks/work/renewed, which git ignores, and drops their unfinished runs. Other tables that are made of
the same rows are named, because they are measured again too.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from commands import DATA, Command
from results import set_aside
from tables import TABLES
from tables.pages import NoPlaceError, fill
from tables.table import Table

from fedrec.offline import go_offline


class UsageError(Exception):
    """What the user can put right; one line that names the value and the remedy."""


def main(words: Sequence[str] | None = None) -> int:
    """Do what the words ask; returns the exit code."""
    options = parser().parse_args(words)
    try:
        if options.list:
            return print_list()
        if options.fill:
            return print_kept(fill(TABLES.values()))
        tables = chosen(options.tables, options.all)
        if options.renew:
            return renew(tables)
        return measure(tables, folders(options.data), options.jobs, options.dry_run)
    except (UsageError, NoPlaceError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("tables", nargs="*", metavar="TABLE", help="names that --list prints")
    result.add_argument("--all", action="store_true", help="every table")
    result.add_argument("--data", action="append", default=[], metavar="NAME=DIR", help="where xmarket, retail lie")
    result.add_argument("--jobs", type=int, default=2, help="runs side by side, in scripts that time nothing")
    result.add_argument("--dry-run", action="store_true", help="print the commands")
    result.add_argument("--list", action="store_true", help="print table, page and command of every table")
    result.add_argument("--renew", action="store_true", help="set the tables' rows aside, to measure them anew")
    result.add_argument("--fill", action="store_true", help="make all tables of the rows that there are")
    return result


def chosen(names: Sequence[str], every: bool) -> list[Table]:
    """The tables named, or all."""
    if every:
        return list(TABLES.values())
    if not names:
        raise UsageError("no table is named; name some that --list prints, or --all")
    for name in names:
        if name not in TABLES:
            raise UsageError(f"table {name!r}: unknown; --list prints those that there are")
    return [TABLES[name] for name in names]


def folders(given: Sequence[str]) -> dict[str, Path]:
    """Data folders by name; each must hold the markets of its data set."""
    found = {}
    for text in given:
        name, _, folder = text.partition("=")
        if name not in DATA or not folder:
            raise UsageError(f"--data {text!r}: write NAME=DIR with NAME one of {', '.join(DATA)}")
        lacking = DATA[name].missing(Path(folder))
        if lacking:
            raise UsageError(f"--data {text!r}: no market {lacking[0]} there; `{DATA[name].made_by}` makes the folder")
        found[name] = Path(folder).resolve()
    return found


def commands_of(tables: Sequence[Table]) -> list[Command]:
    """What is to be run, each command once."""
    return list(dict.fromkeys(command for table in tables for command in table.commands))


def measure(tables: Sequence[Table], data: dict[str, Path], jobs: int, dry_run: bool) -> int:
    """Run the commands of the tables; after each that succeeds, fill every table that uses it."""
    if not dry_run:
        refuse(tables, data)
    go_offline()  # for all that is started
    failed: list[Command] = []
    for command in commands_of(tables):
        arguments = command.arguments(data, jobs)
        print(f"python benchmarks/{command.script.name} {shlex.join(arguments)}", flush=True)
        if dry_run:
            continue
        if command.root and os.geteuid() != 0:
            print("this makes network namespaces, which only root may: use sudo", file=sys.stderr)
            failed.append(command)
        elif subprocess.run([sys.executable, str(command.script), *arguments], check=False).returncode:
            failed.append(command)
        else:
            print_kept(fill(table for table in TABLES.values() if command in table.commands))
    for command in failed:
        print(f"failed: {command}", file=sys.stderr)
    return 1 if failed else 0


def refuse(tables: Sequence[Table], data: dict[str, Path]) -> None:
    """Raise before anything is run where a command lacks its data folder."""
    for table in tables:
        for command in table.commands:
            for name in command.data:
                if name not in data:
                    raise UsageError(
                        f"table {table.name!r}: give --data {name}=DIR, a folder that `{DATA[name].made_by}` makes"
                    )


def renew(tables: Sequence[Table]) -> int:
    """Set rows aside; say where they are and which tables are to be measured."""
    commands = commands_of(tables)
    for path in set_aside(name for command in commands for name in command.rows):
        print(path)
    affected = [table.name for table in TABLES.values() if set(table.commands) & set(commands)]
    print(f"to measure: {' '.join(affected)}")
    return 0


def print_list() -> int:
    """One line a table."""
    for table in TABLES.values():
        print(f"{table.name:28}{table.page:34}{' && '.join(map(str, table.commands))}")
    return 0


def print_kept(kept: dict[str, str]) -> int:
    """Say which tables stayed as they stand, and why."""
    for name, reason in kept.items():
        print(f"{name}: left as it stands, {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
