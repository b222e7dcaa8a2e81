"""One case and the rules it is held to: exit code, a few short plain lines, no traceback, no data, no leftovers."""

import contextlib
import io
import os
import re
import resource
import signal
import sys
import tempfile
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedrec.cli.main import app, exit_code

Step = Callable[[], Any]

MAX_LINES, LONGEST_LINE = 3, 600
CASE_SECONDS = 30.0
MORE_BYTES = 2 << 30  # address space that one case may add
_PRODUCT = ("fedrec",)
_ROOT = Path(__file__).resolve().parents[2]
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # escapes, text direction, halves of characters, line ends
_QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # Python hides them by default


class BrokenRuleError(AssertionError):
    """A step found a rule broken that the text alone does not show."""


class TimeUpError(BaseException):
    """A case took too long. No handler of ordinary errors takes it."""


@dataclass(frozen=True)
class Case:
    """What is tried: the steps run one after the other, until one ends in another exit code than 0."""

    what: str  # in a few words
    steps: list[Step]
    codes: Sequence[set[int]] = ({0, 2},)  # that a step may end in; the last holds for all that follow
    marker: str = ""  # pattern of what only a whole row of data holds: must stand in no output
    tidy: bool = False  # a refusal leaves nothing new in the case's folder
    echoes: bool = False  # standard output repeats the input, which is then not searched for control characters


@dataclass(frozen=True)
class Failure:
    """A rule that a case broke, where in the product the text or the traceback comes from, and the text."""

    rule: str
    where: str
    text: str

    @property
    def signature(self) -> str:
        """The same for failures that have one cause."""
        words = self.where if self.where else re.sub(r"'[^']*'|\"[^\"]*\"|[\d.]+", "_", self.text)[:60]
        return f"{self.rule} | {words}"


@dataclass
class _Ended:
    """How one step ended."""

    code: int | None = None
    error: BaseException | None = None  # what nobody caught
    raised: BaseException | None = None  # what became a message
    out: str = ""
    err: str = ""
    warned: list[str] = field(default_factory=list)


def command(*arguments: str | Path) -> Step:
    """The step that runs ``fedrec`` with these arguments."""
    return lambda: app(list(map(str, arguments)), prog_name="fedrec", standalone_mode=False)


def judge(case: Case, folder: Path, progress: Callable[[str], None] | None = None) -> Failure | None:
    """Run the case inside ``folder``; the first rule it breaks, or None. ``progress`` hears all that was printed."""
    before = set(os.listdir(folder))  # noqa: PTH208  names, which may be no UTF-8
    for place, step in enumerate(case.steps):
        ended = _run(step, folder)
        if progress is not None:
            progress(_story(ended))
        failure = _broken(case, place, ended)
        if failure is not None:
            return failure
        if ended.code != 0:
            left = sorted(set(os.listdir(folder)) - before)  # noqa: PTH208
            if case.tidy and left:
                return Failure("leftover", _place(ended.raised), f"{left[0]!r} is left behind; {ended.err}")
            return None
        before = set(os.listdir(folder))  # noqa: PTH208
    return None


def _broken(case: Case, place: int, ended: _Ended) -> Failure | None:
    if ended.error is not None:
        error = ended.error
        rule = {TimeUpError: "hang", BrokenRuleError: "rule"}.get(type(error), f"traceback {type(error).__name__}")
        return Failure(rule, _place(error), f"{type(error).__name__}: {str(error)[:300]}")
    where, code = _place(ended.raised), ended.code
    if code not in case.codes[min(place, len(case.codes) - 1)]:
        return Failure(f"exit {code} of step {place + 1}", where, ended.err)
    if ended.warned:
        return Failure("warning", where, ended.warned[0])
    lines = ended.err.split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if len(lines) > MAX_LINES:
        return Failure(f"over {MAX_LINES} lines", where, ended.err)
    if code and not any(line.strip() for line in lines):
        return Failure("silent", where, f"exit {code} and nothing on standard error")
    long = max(map(len, lines), default=0)
    if long > LONGEST_LINE:
        return Failure("long line", where, f"{long} characters: {ended.err}")
    for name, text in (("standard error", ended.err), ("standard output", "" if case.echoes else ended.out)):
        control = next((sign for sign in text if sign != "\n" and unicodedata.category(sign) in _UNPRINTABLE), None)
        if control is not None:
            return Failure("control character", where, f"{control!r} on {name}: {_around(text, control)!r}")
        if "Traceback (most recent call last)" in text or "panicked at" in text:
            return Failure("traceback printed", where, text)
        if case.marker and re.search(case.marker, text):
            return Failure("rows of data", where, f"on {name}: {text}")
    return None


def _run(step: Step, folder: Path) -> _Ended:
    ended = _Ended()

    def noted() -> Any:
        try:
            return step()
        except BaseException as error:
            ended.raised = error
            raise

    with _captured(ended), _inside(folder), warnings.catch_warnings(record=True) as warned, _bounded():
        warnings.simplefilter("always")
        for category in _QUIET:
            warnings.simplefilter("ignore", category)
        try:
            ended.code = exit_code(noted)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            ended.error = error
    ended.warned = [f"{entry.category.__name__}: {entry.message} ({Path(entry.filename).name})" for entry in warned]
    return ended


@contextlib.contextmanager
def _captured(ended: _Ended) -> Iterator[None]:
    """Catch both outputs where they leave the process: libraries that are not Python write there, too."""
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for number, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), number)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "replace", write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "replace", write_through=True)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            ended.out, ended.err = _content(out), _content(err)


def _content(file: Any) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Bound seconds and memory of the block."""

    def strike(_signal: int, _frame: object) -> None:
        raise TimeUpError(f"over {CASE_SECONDS:g} s")

    handler = signal.signal(signal.SIGALRM, strike)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MORE_BYTES, hard))
    signal.setitimer(signal.ITIMER_REAL, CASE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, handler)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _place(error: BaseException | None) -> str:
    """The innermost line of the product in an error's traceback, and the error's type."""
    if error is None:
        return ""
    own = [
        f"{path.relative_to(_ROOT)}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in _PRODUCT
    ]
    return f"{type(error).__name__} from {own[-1] if own else 'the command line parser'}"


def _around(text: str, sign: str) -> str:
    place = text.index(sign)
    return text[max(0, place - 60) : place + 60]


def _story(ended: _Ended) -> str:
    parts = [f"exit {ended.code}", ended.out, ended.err, *ended.warned]
    if ended.error is not None:
        parts.append("".join(traceback.format_exception(ended.error)))
    return "\n".join(part for part in parts if part)
