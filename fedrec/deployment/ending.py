"""How a Flower process ends here: altogether, whatever it was doing."""

import os
import sys
import traceback
from collections.abc import Callable

from fedrec.errors import FedrecError


def end_with(program: Callable[[], object]) -> None:
    """Run a program's main function and end the process with it, threads included.

    Flower interrupts itself by a signal where it is no longer let in. Caught in the wrong line, the main thread dies of
    it while its servers' threads live on: a node that is up, healthy to its container engine, and asks for nothing.
    """
    code = 1
    try:
        program()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except FedrecError as error:
        print(f"fedrec: {error}", file=sys.stderr)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
