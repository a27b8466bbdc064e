# The virtual environment is created from pyproject.toml, and again when that changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Many tests mostly wait, so four of them run per core.
TEST_PROCESSES = $(shell $(PYTHON) -c 'import os; print(4 * (os.cpu_count() or 1))')
PYTEST = pytest -q -n $(TEST_PROCESSES) --dist loadgroup

# Tests start many processes. Without bytecode files, each of them would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-failed test-long unit test-redis test-lowest test-dist chaos check bench bench-quick bench-limits bench-flows docs dist screenshots architecture clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Run an example pool over real files, on a Redis of its own
	@$(BIN)/python -m examples.demo

test: $(READY) ## Run all tests but the long ones, against redis-servers that they start themselves
	@$(BIN)/$(PYTEST)

test-failed: $(READY) ## Run the tests that failed last once more, one at a time
	@echo "These failed beside others:"
	@$(BIN)/pytest -v -n 0 -m '' --last-failed --last-failed-no-failures none

test-long: $(READY) ## Run the tests that wait for minutes, such as an outage at full length
	@$(BIN)/$(PYTEST) -m long

# A test that starts a redis-server all the same fails.
unit: $(READY) ## Run the tests that need no redis-server, in about a minute
	@ASYNCWORK_REDIS_SERVER=/nonexistent $(BIN)/$(PYTEST) -m unit

# TESTS limits the run, for example to one file.
test-redis: $(READY) ## Run all tests once with each Redis: 6.2, 8.2 and Valkey 9 from PyPI, and the one on the PATH
	@servers=$$($(BIN)/python -m tests.servers) || exit 1; \
	for server in $$servers; do \
		$$server --version; \
		ASYNCWORK_REDIS_SERVER=$$server $(BIN)/$(PYTEST) -m '' $(TESTS) || exit 1; \
	done

# TESTS limits the run. It has its own environment, which is created again each time.
test-lowest: $(READY) ## Run all tests with the lowest versions of the packages that pyproject.toml allows
	@$(BIN)/python -m venv --clear .venv-lowest
	@$(BIN)/uv pip install -q --python .venv-lowest/bin/python --resolution lowest-direct -e '.[dev]'
	@.venv-lowest/bin/$(PYTEST) -m '' $(TESTS)

# PYTHONS lists the Pythons, for example PYTHONS='python3.11 /opt/python3.14/bin/python3'.
test-dist: $(READY) ## Try wheel and sdist with each Python on the PATH, with the newest and the lowest packages
	@$(BIN)/python -m tests.distributions $(PYTHONS)

# CHAOS passes options, for example CHAOS='--seed 7 --seconds 300'.
chaos: $(READY) ## Inject failures at random, then account for every job
	@$(BIN)/python -m tests.chaos $(CHAOS)

# pyright asks the `python` on the PATH for installed packages. Its report is long, also when all types are complete.
check: $(READY) ## Check lint, formatting, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@report=$$(PYRIGHT_PYTHON_IGNORE_WARNINGS=1 PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes asyncwork --ignoreexternal) || { echo "$$report"; exit 1; }
	@$(BIN)/lint-imports

bench: $(READY) ## Measure asyncwork, its bare hot path and other queues, and write the figures of the documents
	@$(BIN)/python -m benchmarks --record benchmarks/speed.json
	@$(BIN)/python -m benchmarks.picture

# BASE is another checkout to compare with, which has its own .venv: make bench-quick BASE=../asyncwork-main
bench-quick: $(READY) ## Measure this checkout beside another one, in at most three minutes
	@$(BIN)/python -m benchmarks.quick $(if $(BASE),--base "$(BASE)")

bench-limits: $(READY) ## Measure limits, fair queues and unique jobs beside plain queues and others, in four minutes
	@$(BIN)/python -m benchmarks.limits

bench-flows: $(READY) ## Measure batches, flows and chains beside plain jobs and other queues, in four minutes
	@$(BIN)/python -m benchmarks.flows

docs: $(READY) ## Build the documentation as a site in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q
	@echo "build/site/index.html"

# URL is the address of the repository, to which the links of the README lead.
dist: $(READY) ## Build wheel and sdist into dist, for a release: make dist URL=https://example.com/asyncwork
	@test -n "$(URL)" || { echo "URL is missing: make dist URL=https://… with the address of the repository"; exit 2; }
	@ASYNCWORK_REPOSITORY="$(URL)" $(BIN)/python -m build --outdir dist .

screenshots: $(READY) ## Take screenshots of the web UI into build/screens, and for the README
	@$(BIN)/python -m tests.web_screens build/screens
	@mkdir -p docs/images && cp build/screens/overview-desk-light.png docs/images/overview.png

architecture: $(READY) ## Draw the import contract as docs/images/architecture.svg, and write the map of CONTRIBUTING.md
	@$(BIN)/python -m tests.architecture

clean: ## Remove the environments and the files of tools
	rm -rf $(VENV) .venv-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("asyncwork needs Python 3.11 or later, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --upgrade pip
	@$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@
