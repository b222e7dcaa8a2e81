"""Writes ``docker-compose.yml``: ``python deploy/make_compose.py > docker-compose.yml``; a test keeps the two equal."""

from fedrec.deployment.compose import demo_compose

MARKETS = ["alfa", "bravo", "charlie"]
HEADER = """\
# Three markets on synthetic data, each with its own key, data and private state, on one machine:
#
#     make deploy-demo      # keys and data below deploy/demo, then docker compose up
#
# Made by deploy/make_compose.py from what `fedrec deploy init` writes. docs/how-to/deploy.md explains every part."""

if __name__ == "__main__":
    print(demo_compose("./deploy/demo", MARKETS, HEADER), end="")
