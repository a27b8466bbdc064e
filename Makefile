# The environment is made from pyproject.toml and made anew when that changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests mostly wait, so there are three times as many at a time as there are cores.
AT_ONCE = $(shell $(PYTHON) -c 'import os; print(3 * (os.cpu_count() or 1))')
PYTEST = pytest -q -n $(AT_ONCE) --dist loadgroup

# Tests start many processes, of which each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-long unit test-redis test-lowest chaos check bench screenshots clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Run an example pool over real files, on a Redis of its own
	@$(BIN)/python -m examples.demo

test: $(READY) ## Run all tests but the long ones, against redis-servers that they start themselves
	@$(BIN)/$(PYTEST)

test-long: $(READY) ## Run the tests that wait for minutes, such as an outage at full length
	@$(BIN)/$(PYTEST) -m long

# A test that starts a redis-server all the same fails.
unit: $(READY) ## Run the tests that need no redis-server, in seconds
	@ASYNCWORK_REDIS_SERVER=/nonexistent $(BIN)/pytest -q -m unit

# TESTS narrows it, such as to one file.
test-redis: $(READY) ## Run all tests once with each Redis: 6.2 and 8.2 from PyPI, and the one on the PATH
	@servers=$$($(BIN)/python -m tests.servers) || exit 1; \
	for server in $$servers; do \
		$$server --version; \
		ASYNCWORK_REDIS_SERVER=$$server $(BIN)/$(PYTEST) -m '' $(TESTS) || exit 1; \
	done

# TESTS narrows it. The environment is one of its own, made anew each time.
test-lowest: $(READY) ## Run all tests with the lowest versions of the packages that pyproject.toml allows
	@$(BIN)/python -m venv --clear .venv-lowest
	@.venv-lowest/bin/python -m pip install -q uv
	@.venv-lowest/bin/uv pip install -q --python .venv-lowest/bin/python --resolution lowest-direct -e '.[dev]'
	@.venv-lowest/bin/$(PYTEST) -m '' $(TESTS)

# CHAOS says how long and which, such as CHAOS='--seed 7 --seconds 300'.
chaos: $(READY) ## Let everything go wrong at random, then account for every job
	@$(BIN)/python -m tests.chaos $(CHAOS)

check: $(READY) ## Lint, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure it beside other queues and the floor of its hot path, in about 25 minutes
	@$(BIN)/python -m benchmarks --picture docs/images/benchmark.svg

screenshots: $(READY) ## Draw the pages of the web UI into build/screens, and the README's picture
	@$(BIN)/python -m tests.web_screens build/screens
	@mkdir -p docs/images && cp build/screens/overview-desk-light.png docs/images/overview.png

clean: ## Remove the environment and what tools left behind
	rm -rf $(VENV) .venv-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("asyncwork needs Python 3.11 or later, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --upgrade pip
	@$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@
