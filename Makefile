# Every target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
PORTRAITS := $(VENV)/bin/portraits

.PHONY: help demo test soak cluster-test bench-identity bench-portrait bench-decisions bench-night check setup java clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: setup ## Generate a small chain, run its nights and the Online Retail example, print what came out
	@$(VENV)/bin/python scripts/demo.py

test: setup ## Run all tests
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

soak: setup ## Run the long tests: random loads, jobs one by one, Complete Journey (its data in ../shared/data)
	@$(VENV)/bin/python -m pytest -m soak $(PYTEST_ARGS)

cluster-test: setup ## Run a night on a standalone Spark cluster on this machine, and compare it with a local one
	@$(VENV)/bin/python -m pytest -m cluster $(PYTEST_ARGS)

bench-identity: setup ## Time identity resolution beside its peers (SIZES="1e6 1e7" links, EVENTS="5e6" nights)
	@$(VENV)/bin/python scripts/bench/identity.py --links $(or $(SIZES),1e6) --events $(or $(EVENTS),1e6)

bench-portrait: setup ## Time the tags of all customers beside DuckDB, Polars and the floor (EVENTS="5e6 15e6 30e6")
	@$(VENV)/bin/python scripts/bench/portrait.py --events $(or $(EVENTS),1e6)

bench-decisions: setup ## Time segments, recommendations and contacts beside the portraits (EVENTS="1e7")
	@$(VENV)/bin/python scripts/bench/decisions.py --events $(or $(EVENTS),1e6)

bench-night: setup ## Time every step of a night over a generated chain (CUSTOMERS="1e6" DAYS="31": 7.8 million events)
	@$(VENV)/bin/python scripts/bench/night.py --customers $(or $(CUSTOMERS),1e5) --days $(or $(DAYS),60)

check: setup ## Lint and type-check
	@$(VENV)/bin/ruff check jobs transforms tests scripts
	@$(VENV)/bin/ruff format --check jobs transforms tests scripts
	@$(VENV)/bin/mypy

setup: java $(READY) ## Make the virtual environment, with locked dependencies and the Delta jars

java:
	@scripts/check_java.sh

$(READY): pyproject.toml requirements.lock scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh

clean: ## Remove the virtual environment, the lakes and all build output
	@rm -rf $(VENV) lakes build dist .ruff_cache .mypy_cache .hypothesis spark-warehouse
