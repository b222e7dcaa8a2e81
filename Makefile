.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
PARALLEL := -n logical --dist loadscope
export FEDREC_SHARED ?= ../shared
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup demo test test-deploy test-containers test-all image sbom lock lint docs bench

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

test: setup ## tests and doctests on all cores, without the slow ones and those of deployments
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not deploy and not containers'

test-deploy: setup ## real processes on hosts of their own (network namespaces); skips loudly where there are none
	$(BIN)/python -m pytest -m 'deploy and not slow' tests/deployment tests/plugin

test-containers: setup ## the image and the compose files in a real engine; skips loudly where there is none
	$(BIN)/python -m pytest -m 'containers and not slow' tests/containers

# BASE, best with its digest (python:3.11.14-slim-bookworm@sha256:...), and TORCH_INDEX come from the environment.
image: ## the image fedrec:VERSION, with its labels
	docker build -t fedrec:$(VERSION) $(if $(BASE),--build-arg BASE=$(BASE) --build-arg BASE_DIGEST=$(lastword $(subst @, ,$(BASE)))) \
	  --build-arg TORCH_INDEX=$(TORCH_INDEX) --build-arg TORCH_HASH=$(TORCH_HASH) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(git show -s --format=%cI) --build-arg SOURCE=$(SOURCE) .

sbom: setup ## sbom.json, the Python packages of that image
	PATH=$(BIN):$$PATH sh deploy/sbom.sh fedrec:$(VERSION) sbom.json

lock: setup ## the image's locks, after pyproject or constraints change
	$(BIN)/python deploy/lock.py

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

bench: setup ## a round over plain training; an epoch and a round beside RecTools, RecBole, Flower and pfl-research
	$(BIN)/python benchmarks/round_overhead.py
	$(BIN)/python benchmarks/peers.py
