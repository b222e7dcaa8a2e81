.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export FEDREC_SHARED ?= ../shared
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup demo test test-all lint bench

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

test: setup ## tests and doctests, without the slow ones
	$(BIN)/python -m pytest -m 'not slow'

test-all: setup ## every test
	$(BIN)/python -m pytest

lint: setup ## style, types, trust boundary
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## overhead of a federated round over plain training
	$(BIN)/python benchmarks/round_overhead.py
