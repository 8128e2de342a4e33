# Everything runs from .venv, made from requirements.lock with hashes checked.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEEL_TESTS ?= tests/integration
# One more than there are processors: many tests wait for a process to start, or to be killed.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.PHONY: help install demo run tools test test-wheel check bench campaign verifier clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## make .venv from the lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "installing into $(VENV) (once; later runs skip this)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: install  ## from nothing to a verified extract and a proved purge
	@$(BIN)/openepm-journal demo

run: install  ## the same service, left up on 127.0.0.1
	@$(BIN)/openepm-journal demo --keep-running

tools: install  ## the programs some tests need, where we may install them
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  $(BIN)/python -m tests.needs | xargs -r sh -c \
	    'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$@" >/dev/null' -; \
	fi

test: tools  ## the whole test suite, on a real PostgreSQL
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not campaign"

test-wheel: install  ## the integration tests (or WHEEL_TESTS) on the wheel's PostgreSQL
	@$(BIN)/python -m pytest $(WHEEL_TESTS) -n $(WORKERS) --dist worksteal -m "not campaign" --postgres=wheel

verifier: install  ## dist/journal-verify.pyz and dist/verifier.html, each with its SHA-256
	@$(BIN)/python -m journal.cli.release dist

check: install  ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: install  ## figures with their floors, several runs each
	@$(BIN)/python -m tests.bench

campaign: install  ## the long tests: kills, every bit, every byte
	@$(BIN)/python -m pytest -m campaign

clean:  ## remove what install and run made here
	rm -rf $(VENV) var dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
