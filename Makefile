# secure-rag: `make demo` and `make test` set up everything they need in .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Models come from installed packages; nothing is fetched after set-up.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PYTHONDONTWRITEBYTECODE := 1
# Two cores are assumed: BLAS threads of several test processes would only get in each other's way.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help
help:  ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 …") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

.PHONY: setup
setup: $(STAMP)  ## Create .venv with everything

.PHONY: demo
demo: $(STAMP)  ## Ingest the sample company and run its scenarios (leaves .demo/ to explore)
	$(BIN)/secure-rag demo --home .demo

.PHONY: test
test: $(STAMP)  ## Run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: check
check: format-check lint types layers  ## Format, lint, types and layers, as CI does

.PHONY: format
format: $(STAMP)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: format-check
format-check: $(STAMP)
	$(BIN)/ruff format --check .

.PHONY: lint
lint: $(STAMP)
	$(BIN)/ruff check .

.PHONY: types
types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/basedpyright

.PHONY: layers
layers: $(STAMP)
	$(BIN)/lint-imports

.PHONY: mutate
mutate: $(STAMP)  ## Mutate the decision code; every survivor must be in the committed list (slow)
	$(BIN)/python -m tests.security.mutation.run

.PHONY: bench
bench: $(STAMP)  ## Measure; prints a table and, last, one JSON line
	$(BIN)/python -m benchmarks.run

.PHONY: openapi
openapi: $(STAMP)  ## Write api/openapi.json from the routes
	$(BIN)/python -m tests.contract.api.contract

.PHONY: examples
examples: $(STAMP)  ## Rebuild the binary documents of the sample company
	$(BIN)/python ingestion/examples/build_binaries.py

.PHONY: clean
clean:  ## Remove .venv, .demo and caches
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
