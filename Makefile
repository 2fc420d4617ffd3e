# `make help` lists the targets. What they install, tools/setup says; what they make is below build/
# and dist/, and `make clean` removes it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

SCHEMA ?= background
KEEP ?=
PYTHON ?= python3
VENV := build/venv/bin/python
# Test sessions side by side, each on a server of its own: tests wait more than they work. On a server given by DSN there is only one.
SIDE_BY_SIDE := $(if $(PGBACKGROUND_TEST_DSN),,-n 3 --dist loadfile)
PSQL := psql -X -v ON_ERROR_STOP=1

# $(call need,PATH): a part of the checkout that this target is about has to be there
need = @[ -e $(1) ] || { echo "make $@: there is no $(1) in this checkout" >&2; exit 1; }

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## Show the product at work on a throw-away server; KEEP=1 leaves the server running
	$(call need,demo/run)
	@tools/setup server
	@KEEP='$(KEEP)' demo/run

.PHONY: dist
dist: ## Write the files to install into dist/; SCHEMA=name for another schema than background
	$(call need,plpy/bundle.py)
	$(PYTHON) plpy/bundle.py --schema '$(SCHEMA)'

.PHONY: install
install: dist ## Install into the database that PGHOST, PGDATABASE, ... name; SCHEMA=name
	$(PSQL) -q -f dist/install.sql

.PHONY: uninstall
uninstall: dist ## Remove from the database that PGHOST, PGDATABASE, ... name; SCHEMA=name
	$(PSQL) -f dist/uninstall.sql

.PHONY: reference
reference: setup ## Write docs/reference.md from the comments in sql/
	$(VENV) -m tools.reference

.PHONY: top
top: ## Show running and queued jobs, and the schedules due next, of the database that PGHOST, PGDATABASE, ... name
	$(call need,tools/top)
	@tools/top

##@ Test

.PHONY: test
test: setup lint unit pgtap integration ## Everything on one server: setup, lint, unit, pgTAP, integration

.PHONY: test-all
test-all: setup unit ## Unit tests, then pgTAP and integration on PostgreSQL 15, 16, 17 and 18
	@tools/test_images

.PHONY: setup
setup: ## Install what the tests need and is missing (packages, build/venv)
	@tools/setup server python

.PHONY: setup-python
setup-python:
	@tools/setup python

.PHONY: lint
lint: setup-python ## ruff check, ruff format --check, mypy --strict
	$(call need,plpy)
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy plpy tools tests $(wildcard demo/*.py)

.PHONY: unit
unit: setup-python ## Python without a server
	$(call need,tests/unit)
	$(VENV) -m pytest tests/unit

.PHONY: pgtap
pgtap: setup ## tests/sql through pg_prove
	$(call need,tests/sql)
	@$(VENV) -m tools.run_pgtap

.PHONY: integration
integration: setup ## Several sessions at once, through psycopg
	$(call need,tests/integration)
	$(VENV) -m pytest $(SIDE_BY_SIDE) tests/integration

.PHONY: images
images: setup-python ## Build the servers of test-all as container images (root)
	$(call need,tests/images/build.py)
	@tools/setup engine
	@tools/with_engine $(VENV) tests/images/build.py

.PHONY: parity
parity: setup-python ## The same scenarios here and on the C extension pg_background (in a container)
	$(call need,tests/parity)
	@tools/setup engine
	@tools/with_engine bash -c '$(VENV) tests/images/build.py 18 && \
		PGBACKGROUND_TEST_IMAGE=18 $(VENV) -m pytest tests/parity'

.PHONY: chaos
chaos: setup ## Crashes, kills and races at random moments
	$(call need,tests/chaos)
	$(VENV) -m pytest tests/chaos

.PHONY: soak
soak: setup ## Many jobs from many sessions, and what they leave behind
	$(call need,tests/soak)
	$(VENV) -m pytest tests/soak

.PHONY: bench
bench: setup ## Times, as a table and in build/bench.json
	$(call need,tests/bench)
	$(VENV) -m tests.bench

##@ Tidy

.PHONY: clean
clean: ## Remove build/ and dist/, and stop what runs there
	@if [ -e build/engine ]; then $(PYTHON) tests/images/engine.py stop --purge; fi
	@for server in $(dir $(wildcard build/*/cluster)); do tools/local_server.py stop $$server; done
	rm -rf build dist
