"""``python -m tests.fuzz --cases 1000 --seed 0 [--kind KIND] [--case N]``: one line a failure, then the counts."""

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fuzz.judge import CASE_SECONDS, Failure
from tests.fuzz.kinds import KINDS, counts, run_case

_SHOWN = 200
_PATIENCE = 4 * CASE_SECONDS  # of a process whose own alarm did not ring; the first case also makes a run


@dataclass(frozen=True)
class _Found:
    kind: str
    number: int
    what: str
    failure: Failure

    @property
    def line(self) -> str:
        text = " ".join(f"{self.failure.text!a}"[1:-1][:_SHOWN].split())
        return f"{self.kind} {self.number}: {self.failure.rule}; {self.failure.where}; {self.what!a}; {text}"


def main() -> int:
    """Run the cases of the command line; 1 where one failed."""
    options = _options()
    if options.worker:
        _work(options.kind, options.first, options.cases, options.seed)
        return 0
    if options.case is not None:
        return _one(options.kind, options.case, options.seed)
    wanted = {options.kind: options.cases} if options.kind else counts(options.cases)
    failed, seen = 0, set()
    for kind, cases in wanted.items():
        of_kind = 0
        for found in _supervised(kind, cases, options.seed):
            of_kind += 1
            if not options.distinct or (kind, found.failure.signature) not in seen:
                print(found.line, flush=True)
            seen.add((kind, found.failure.signature))
        failed += of_kind
        print(f"{kind}: {cases} cases, {of_kind} failed", flush=True)
    print(f"{sum(wanted.values())} cases, {failed} failed, {len(seen)} of them distinct (seed {options.seed})")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="of all kinds together, or of --kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS))
    parser.add_argument("--case", type=int, help="this case of --kind alone, with all that it prints")
    parser.add_argument("--distinct", action="store_true", help="one line for failures that have one cause")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None and options.kind is None:
        parser.error("--case: name its --kind")
    return options


def _one(kind: str, number: int, seed: int) -> int:
    what, failure = run_case(
        kind, number, seed, progress=lambda text: print(text.encode("ascii", "backslashreplace").decode())
    )
    print(f"{kind} {number}: {what!a}")
    print("in order" if failure is None else f"broken: {failure.rule}; {failure.where}; {failure.text[:1000]!a}")
    return 0 if failure is None else 1


def _work(kind: str, first: int, cases: int, seed: int) -> None:
    """The cases of one kind, told line by line to the process that watches this one."""
    own = os.fdopen(os.dup(1), "w", buffering=1)
    for number in range(first, cases):
        own.write(json.dumps({"begun": number}) + "\n")
        what, failure = run_case(kind, number, seed)
        told = None if failure is None else [failure.rule, failure.where, failure.text[:1000]]
        own.write(json.dumps({"done": number, "what": what, "failure": told}) + "\n")


def _supervised(kind: str, cases: int, seed: int) -> Iterator[_Found]:
    """The failures of one kind; a process that dies or hangs is one, and the next case gets a new process."""
    first = 0
    while first < cases:
        begun = first
        arguments = ["--worker", "--kind", kind, "--first", str(first), "--cases", str(cases), "--seed", str(seed)]
        with subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz", *arguments], stdout=subprocess.PIPE, text=True
        ) as worker:
            for told in _lines(worker):
                begun = told.get("begun", begun)
                if told.get("failure"):
                    yield _Found(kind, told["done"], told["what"], Failure(*told["failure"]))
                first = told.get("done", first - 1) + 1
            code = worker.wait()
        if code == 0:
            return
        rule = "hang, the process had to be killed" if code == -9 else f"the process died with {code}"
        yield _Found(kind, begun, "", Failure(rule, "", f"python -m tests.fuzz --kind {kind} --case {begun}"))
        first = begun + 1


def _lines(worker: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """What the worker tells; it is killed when it is silent for too long."""
    timer = _killing(worker)
    for line in worker.stdout or ():
        timer.cancel()
        yield json.loads(line)
        timer = _killing(worker)
    timer.cancel()


def _killing(worker: "subprocess.Popen[str]") -> threading.Timer:
    timer = threading.Timer(_PATIENCE, worker.kill)
    timer.daemon = True
    timer.start()
    return timer


if __name__ == "__main__":
    sys.exit(main())
