"""Processes that this software starts, and how they end with the one that started them."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def open_standard_streams() -> None:
    """Open what the caller closed of standard input, output and error (``2>&-``): to nowhere.

    Otherwise the next file that is opened takes the number, and what is meant for people lands in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.dup(2), "w")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.dup(1), "w")


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when ``parent``, which started it, is gone, however that ended.

    Called first thing in the new process. Elsewhere than on Linux it does nothing: there a process ends when it next
    reads from its pipe.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before it could be asked for
        os._exit(1)
