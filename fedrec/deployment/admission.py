"""Who is let in is what the coordinator's folder ``keys/`` holds, at every moment: one public key a market.

A SuperLink that was restarted remembers nobody, and a market may be added, removed or given another key while all runs
on. So the coordinator's executor compares the registered nodes with the folder again and again, and nobody has to.
"""

import threading
import time
from collections.abc import Callable

from fedrec.deployment.alive import Alive
from fedrec.deployment.connection import Connection
from fedrec.deployment.runtime_api import say

PAUSE_SECONDS = 2.0
LASTING_SECONDS = 10.0  # that a key must be away before its node is put out: files are copied one after the other


class Admission:
    """Lets the connection's markets in, in a thread of its own. It signs ``alive`` whenever that worked."""

    def __init__(self, connection: str, alive: Alive, told: Callable[[int, int], None]) -> None:
        self._connection = connection
        self._alive = alive
        self._told = told  # of how many markets' nodes are online and how many are not
        self._strange_since: dict[int, float] = {}
        self._said = ""

    def start(self) -> None:
        """Begin, and go on until the process ends."""
        threading.Thread(target=self._keep, name="admission", daemon=True).start()

    def _keep(self) -> None:
        pause = threading.Event()
        while True:
            self.once()
            pause.wait(PAUSE_SECONDS)

    def once(self) -> None:
        """Compare once; what is wrong with the files or the SuperLink is said when it begins, not each time."""
        try:
            with Connection.open(self._connection).control() as control:
                changed = control.admit(self._lasting)
        except Exception as error:  # whatever lies in the files just now, the next look may find better
            text = f"nobody is let in just now: {error or type(error).__name__}"
            if text != self._said:
                say(text)
            self._said = text
            return
        self._said = ""
        self._alive.sign()
        self._told(changed.online, changed.offline)
        if changed.added:
            say(f"let in: {', '.join(changed.added)}")
        for number in changed.removed:
            self._strange_since.pop(number, None)
            say(f"node {number} is let in no more: its key is that of no market in keys/")

    def _lasting(self, number: int) -> bool:
        """Whether a node has had no market's key for a while."""
        return time.monotonic() - self._strange_since.setdefault(number, time.monotonic()) > LASTING_SECONDS
