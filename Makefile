.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PARALLEL := -n logical --dist loadgroup
export FEDREC_SHARED ?= ../shared
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup demo deploy-demo test test-deploy test-all lint docs bench

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(READY) ## make .venv with the tested versions

# torch goes first: left to a resolver, it brings gigabytes of CUDA to machines that have no use for them.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## FeCoSR on five synthetic markets, about a minute
	$(BIN)/fedrec run

DEMO_MARKETS := alfa bravo charlie

deploy-demo: setup ## three markets in containers: keys and data below deploy/demo, then docker compose up
	test -d deploy/demo || $(MAKE) --no-print-directory deploy/demo
	docker compose --env-file deploy/demo/.env up --build

deploy/demo: setup
	$(BIN)/fedrec deploy init $@ --markets alfa,bravo,charlie
	$(BIN)/fedrec data synth $@/data --markets alfa,bravo,charlie
	for market in $(DEMO_MARKETS); do rmdir $@/markets/$$market/data && mv $@/data/$$market $@/markets/$$market/data; done
	$(BIN)/fedrec deploy approve $@

test: setup ## tests and doctests on all cores, without the slow ones and those of deployments
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not deploy'

test-deploy: setup ## real processes on hosts of their own (network namespaces); skips loudly where there are none
	$(BIN)/python -m pytest -m 'deploy and not slow' tests/deployment

test-all: setup ## every test
	$(BIN)/python -m pytest $(PARALLEL)

lint: setup ## style, types, trust boundary
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Not with --quiet: warnings that are not printed do not stop a strict build.
docs: setup ## the pages below site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

bench: setup ## overhead of a federated round over plain training
	$(BIN)/python benchmarks/round_overhead.py
