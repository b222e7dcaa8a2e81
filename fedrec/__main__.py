"""``python -m fedrec``: the command line, of the environment whose Python this is."""

from fedrec.cli.main import main

main()
