"""`fedrec` with another bundle than the installed version's: ``python -m tests.deployment.submit BUNDLE WORD...``."""

import sys
from pathlib import Path

from fedrec.offline import go_offline


def main() -> None:
    path, *words = sys.argv[1:]
    go_offline()
    from fedrec.cli import main as cli
    from fedrec.deployment import run
    from fedrec.deployment.bundle import read_bundle

    run.own_bundle = lambda *_plugins: read_bundle(Path(path))
    sys.argv = ["fedrec", *words]
    cli.main()


if __name__ == "__main__":
    main()
