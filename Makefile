# One command per job; each makes .venv first where there is none. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= butler,postgres,test
CONSTRAINTS ?= constraints.txt
# Workers beyond four only add PostgreSQL servers, one for each.
PYTEST_ARGS ?= -n auto --maxprocesses 4

BIN := $(VENV)/bin
READY := $(VENV)/.ready
DUCKLAKE := .venv-ducklake/.ready
# --no-config: a lock names no package index and no path of the machine that made it.
COMPILE := $(BIN)/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 \
	--fork-strategy fewest --custom-compile-command 'make lock'
# How long `make torture` tortures each kind of repository; TORTURE_ARGS=--seed=N replays.
SECONDS ?= 60
TORTURE_ARGS ?=
LOAD_ARGS ?=
PATHS := arrowopaque tests scripts

.DEFAULT_GOAL := help
.PHONY: help setup ducklake demo bench test test-oldest torture load mutations postgres check static lint cli-docs format types layers api lock clean
.NOTPARALLEL:
.SUFFIXES:

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with what constraints.txt pins

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "arrowopaque needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS)]'
	@touch $@

ducklake: $(DUCKLAKE)  ## make .venv-ducklake for the benchmark's contender of that name

# The pip of $(VENV) fills it: to install another one takes as long as the rest.
$(DUCKLAKE): requirements-ducklake.txt constraints.txt | $(READY)
	$(PYTHON) -m venv --clear --without-pip $(@D)
	$(BIN)/python -m pip --python $(@D)/bin/python install --quiet --constraint constraints.txt numpy pyarrow
	$(BIN)/python -m pip --python $(@D)/bin/python install --quiet --requirement requirements-ducklake.txt
	@touch $@

demo: $(READY)  ## the main job: a Butler repository on arrowopaque, beside the SQL manager
	$(BIN)/python scripts/demo.py

bench: postgres  ## every workload on every contender; BENCH_ARGS are those of scripts/bench.py
	$(MAKE) setup ducklake EXTRAS=$(EXTRAS),bench VENV=.venv-bench
	.venv-bench/bin/python scripts/bench.py $(BENCH_ARGS)

test: postgres $(READY) $(DUCKLAKE)  ## all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-oldest:  ## all tests with the oldest versions that pyproject.toml admits, in .venv-oldest
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

torture: postgres $(READY)  ## kill writers at random moments and compare, SECONDS=60 a database
	$(BIN)/python scripts/torture.py --seconds $(SECONDS) $(TORTURE_ARGS)

load: postgres $(READY)  ## many processes write at once: check, and print how fast; LOAD_ARGS are those of scripts/load.py
	$(BIN)/python scripts/load.py $(LOAD_ARGS)

mutations: postgres $(READY)  ## take every protocol step out of a copy of the source; each must fail a test
	$(BIN)/python -m tests.mutations

postgres:  ## say whether the PostgreSQL server that the tests start is installed
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
		echo "the tests start a PostgreSQL server of their own, but its programs (initdb, pg_ctl) are not" >&2; \
		echo "installed; on Debian or Ubuntu: sudo apt-get install postgresql" >&2; exit 1; }

check: static test  ## lint, types, layers, tests

static: lint types layers api  ## what `check` does before the tests

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)

cli-docs: $(READY)  ## write docs/CLI.md from the commands
	$(BIN)/python scripts/cli_docs.py

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

layers: $(READY)  ## the import order and what each layer may know
	$(BIN)/python -m pytest -q tests/test_layers.py

api: $(READY)  ## the API reference, from docstrings, in build/api
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs/api build/api

lock: $(READY)  ## resolve the dependencies anew: the newest, and the oldest that are admitted
	$(BIN)/python -m pip install --quiet 'uv>=0.9'
	$(COMPILE) --all-extras --output-file constraints.txt pyproject.toml
	$(COMPILE) --extra butler --extra postgres --extra test --resolution lowest-direct \
		--output-file constraints-oldest.txt pyproject.toml

clean:  ## remove .venv and what tools cache
	rm -rf build $(VENV) .venv-oldest .venv-bench .venv-ducklake .mypy_cache .pytest_cache .ruff_cache .hypothesis
