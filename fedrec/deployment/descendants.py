"""Ends whatever a bundle's code has started: a process that detached itself would outlive the consent to it (Linux)."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36


def adopt_descendants() -> None:
    """Be the parent of orphans among this process's descendants, and let none of them read or change its memory."""
    control = ctypes.CDLL(None).prctl
    control(_PR_SET_CHILD_SUBREAPER, 1)
    control(_PR_SET_DUMPABLE, 0)


def end_descendants() -> None:
    """SIGKILL for all descendants of this process, those that they start meanwhile included."""
    while found := descendants(os.getpid()):
        for number in found:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        for number in found:
            with suppress(ChildProcessError):
                os.waitpid(number, 0)


def descendants(process: int) -> list[int]:
    """Numbers of the processes below this one, in /proc's order; zombies that wait for their parent are left out."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX" or int(parent) == process:
                parents[int(path.parent.name)] = int(parent)
    below = {process}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(below - {process})
