"""A process ends when its main function does, whatever its threads are about."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("last", "code"),
    [("pass", 0), ("sys.exit(3)", 3), ("sys.exit('words')", 1), ("raise KeyboardInterrupt", 1), ("1 / 0", 1)],
)
def test_threads_do_not_keep_it(last: str, code: int) -> None:
    program = (
        "import sys, threading, time\n"
        "from fedrec.deployment.ending import end_with\n"
        "def main():\n"
        "    threading.Thread(target=time.sleep, args=(300,)).start()\n"
        f"    {last}\n"
        "end_with(main)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert result.returncode == code
