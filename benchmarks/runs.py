"""Runs of ``fedrec`` that the scripts of this folder start, each in a process of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Refused(SystemExit):
    """A command of ``fedrec`` that ended with an error; unhandled, it ends the script."""


def finish(folder: Path, *words: Any) -> dict[str, Any]:
    """Summary of the run in ``folder``: found there, resumed where it was interrupted, or made by these words.

    ``words``: a command of ``fedrec`` that makes a run, without ``--out``.
    """
    if not (folder / "summary.json").is_file():
        if (folder / "manifest.json").is_file():
            fedrec("run", "--resume", folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            fedrec(*words, "--out", folder)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def fedrec(*words: Any, quiet: bool = True) -> None:
    """One command of ``fedrec``; one that fails ends the script and says which it was."""
    command = [sys.executable, "-m", "fedrec.cli.main", *map(str, words)]
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL if quiet else None).returncode
    if code:
        raise Refused(f"fedrec {' '.join(command[3:])}: exit {code}")


def settings(overrides: Iterable[str]) -> list[str]:
    """Overrides as words of a command line."""
    return [word for override in overrides for word in ("--set", override)]
