# Everything runs from .venv, made from requirements.lock with hashes checked.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEEL_TESTS ?= tests/integration
# Four more than there are processors: many tests wait for a process to start, or to be killed. Unit tests only compute.
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN)
WORKERS ?= $(shell expr $(PROCESSORS) + 4)
# How long make campaign may take (0: as long as it takes), and what is added to the seeds of its cases.
MINUTES ?= 0
SEED ?= 0
# Tests start many processes: none is to compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE
MAY_INSTALL := [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null

.PHONY: help install demo run tools test coverage test-wheel check catalog openapi bench campaign campaign-faults campaign-tamper campaign-breakages mutants verifier release clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## make .venv, with everything of requirements.lock in it

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "installing into $(VENV): two minutes, once; later runs skip this"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])') || exit; \
	  if $(MAY_INSTALL); then .ci/install-packages $$package; else \
	    echo "this Python cannot make a virtual environment; type: sudo apt-get install $$package" >&2; exit 1; \
	  fi; }
	@echo "  1/3 a virtual environment of $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "  2/3 $$(grep -c == requirements.lock) packages of requirements.lock, their hashes checked (the longest)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@echo "  3/3 this project"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: install  ## play the whole product, on a week of made-up activity
	@$(BIN)/openepm-journal demo

run: install  ## play the demo, and leave the service up on 127.0.0.1:8470
	@$(BIN)/openepm-journal demo --keep-running

tools: install  ## install the programs that some tests need, as root on Debian
	@packages=$$($(BIN)/python -m tests.needs) || exit; \
	if [ -n "$$packages" ] && $(MAY_INSTALL); then .ci/install-packages $$packages; fi

test: tools coverage  ## run the whole test suite, on a real PostgreSQL
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not campaign" --ignore=tests/unit

coverage: install  ## run the unit tests, which must cover every branch of the pure core
	@$(BIN)/python -m pytest tests/unit -n $(PROCESSORS) --dist worksteal -m "not campaign" --cov

test-wheel: install  ## run the integration tests (or WHEEL_TESTS) on the wheel's PostgreSQL
	@$(BIN)/python -m pytest $(WHEEL_TESTS) -n $(WORKERS) --dist worksteal -m "not campaign" --postgres=wheel

verifier: install  ## make dist/journal-verify.pyz and dist/verifier.html, each with its SHA-256
	@$(BIN)/python -m ingest.downloads dist

release: install  ## make the files of a release in dist: wheel, source, verifiers, SBOM, Debian package, SHA-256 sums
	@$(BIN)/python -m deploy.release

check: install  ## check format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy deploy/openepm/openepm_journal.py
	@$(BIN)/mypy --python-version 3.10 -p journal.core -p journal.pki -p journal.extract -m journal.verifier.cli
	@$(BIN)/lint-imports

catalog: install  ## make sql/catalog.json anew, after a change of sql/schema.sql
	@$(BIN)/python -m tests.support.catalog

openapi: install  ## make the parts of ingest/openapi.json that follow from the code anew
	@$(BIN)/python -m tests.support.openapi

bench: install  ## measure, several runs each, and compare with the floors
	@$(BIN)/python -m tests.bench

campaign: install  ## run the long tests: kills, every bit, every byte, thousands of random cases; goes on where it ended
	@$(BIN)/python -m tests.faults --workers $(WORKERS) --minutes $(MINUTES) --seed $(SEED)
	@$(BIN)/python -m pytest tests/unit -n $(WORKERS) --dist worksteal -m "not campaign" --hypothesis-profile=search

campaign-faults: install  ## run those of tests/faults alone, and write tests/faults/REPORT.md
	@$(BIN)/python -m tests.faults --workers $(WORKERS) --minutes $(MINUTES) --seed $(SEED) tests/faults

campaign-tamper: install  ## tamper in every way of tests/tamper/KINDS.md, and write tests/tamper/REPORT.md
	@$(BIN)/python -m tests.campaign

campaign-breakages: install  ## break a host in every way, as root, and write tests/faults/BREAKAGES.md
	@$(BIN)/python -m tests.support.breakage_report

# The tool is no part of the lock: it is installed beside it, for this alone.
MUTATING := var/mutants/tool

$(MUTATING)/.installed: tests/mutants/requirements.txt | install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
	  --target $(MUTATING) -r $<
	@touch $@

mutants: $(MUTATING)/.installed  ## change the program in small ways, which the unit tests must find: tests/mutants/REPORT.md
	@PYTHONPATH=$(MUTATING) $(BIN)/python -m tests.mutants $(MUTANTS)

clean:  ## remove what install and run made here
	rm -rf $(VENV) var dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
