"""Writes ``docker-compose.yml``: ``python deploy/make_compose.py > docker-compose.yml``; a test keeps the two equal."""

from fedrec.deployment.compose import demo_compose
from fedrec.deployment.demo import MARKETS

HEADER = """\
# Three markets on synthetic data, each with its own key, data and private state, on one machine:
#
#     docker compose up --exit-code-from run      # the run's table is printed, its report lies in deploy/report
#     docker compose down -v                      # leaves nothing
#
# Made by deploy/make_compose.py from what `fedrec deploy init` writes. docs/how-to/deploy.md explains every part.
"""

if __name__ == "__main__":
    print(demo_compose(MARKETS, HEADER), end="")
