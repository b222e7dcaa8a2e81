"""What a failure says where the market's log is at hand."""

from pathlib import Path

import pytest

from fedrec.errors import LOGGED
from fedrec.simulation.failures import in_full

FRAMES = """2026-11-30 10:00:00 train.pretrain failed
Traceback (most recent call last):
  File "a.py", line 3, in f
    g()
    ^^^
"""


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ValueError: no\n", "ValueError: no"),
        (
            "RuntimeError: Error(s) in loading:\n\tsize mismatch for users.weight: [0, 16] and [600, 16].\n",
            "RuntimeError: Error(s) in loading: size mismatch for users.weight: [0, 16] and [600, 16].",
        ),
        ("torch.OutOfMemoryError: all\nof it\n", "torch.OutOfMemoryError: all of it"),
    ],
)
def test_the_whole_message_of_the_last_exception_is_shown(raised: str, said: str, tmp_path: Path) -> None:
    log = tmp_path / "alfa" / "client.log"
    log.parent.mkdir()
    log.write_text(FRAMES + "KeyError: 'before'\n\n" + FRAMES + raised + "\n")
    kind = raised.partition(":")[0].rpartition(".")[2]
    words = in_full(RuntimeError(f"round 1 failed; alfa: error 1000: {kind} ({LOGGED})"), tmp_path)
    assert words == f"round 1 failed; alfa: error 1000: {said}; traceback in {log}"
