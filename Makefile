# The manual: `make help`. Needs Python 3.11 or later, git and make; everything else it brings.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
CASEBUS := $(BIN)/casebus
.DEFAULT_GOAL := help
.PHONY: help setup up down doctor test test-unit test-faults test-rules check format lock bench bench-rules clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: .venv/.ready ## Make the environment in .venv (other targets do it by themselves)

.venv/.ready: requirements/dev.txt pyproject.toml
	@echo "casebus: making the environment in .venv (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(UV) pip sync --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

up: .venv/.ready ## Run the whole city on this machine; Ctrl-C ends it (CITY=paper: 774 services)
	@$(CASEBUS) up $(if $(CITY),--city $(CITY))

down: .venv/.ready ## End what `make up` started, from another terminal
	@$(CASEBUS) down

doctor: .venv/.ready ## Is everything ready, and where is it?
	@$(CASEBUS) doctor

# The first need no city and run beside each other; the second share one, which takes its share
# of the machine; the others have brokers and cities of their own.
ALONE := tests/unit tests/deploy tests/rules tests/model
SHARED := tests/browser tests/flow

test: .venv/.ready ## All tests, on a real Kafka and a real PostgreSQL
	@$(BIN)/pytest -n auto $(ALONE)
	@$(BIN)/pytest $(SHARED)
	@$(BIN)/pytest $(addprefix --ignore=,$(ALONE) $(SHARED))

test-unit: .venv/.ready ## Only those that need neither
	@$(BIN)/pytest tests/unit

test-faults: .venv/.ready ## The ten faults in their full form, with three brokers
	@CASEBUS_FAULTS=full $(BIN)/pytest tests/faults tests/flow/test_lag_of_a_city.py tests/local/test_three_brokers.py

test-rules: .venv/.ready ## Rules against oracle and peer: all 10,000 random rule sets
	@CASEBUS_RULES=full $(BIN)/pytest tests/rules

check: .venv/.ready ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/.ready ## Put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: .venv/.ready ## Write the requirement files anew, with hashes
	@$(LOCK) --extra local --extra dev pyproject.toml requirements/build.in -o requirements/dev.txt
	@$(LOCK) pyproject.toml requirements/build.in -o requirements/service.txt
	@$(LOCK) -c requirements/service.txt requirements/demo.in -o requirements/demo.txt
	@$(LOCK) requirements/uv.in -o requirements/uv.txt
	@$(LOCK) benchmarks/requirements.in -o benchmarks/requirements.txt

bench: .venv/.ready ## Measure, side by side with peers; writes docs/performance.md
	@$(BIN)/python -m benchmarks.all

bench-rules: .venv/.ready ## The same for the rules alone; writes docs/rules-performance.md
	@$(BIN)/python -m benchmarks.rules

clean: ## Remove the environment and the data of this machine
	rm -rf .venv .bench-venv .casebus
