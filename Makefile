# `make help` lists what there is. Every target makes the environment it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(VERSION))
BIN := $(VENV)/bin
# What is installed: `dev`, or `test`, which is less and enough for `test-quick`.
GROUP ?= dev
WHOLE := $(VENV)/.ready-$(VERSION)
READY := $(or $(wildcard $(WHOLE)),$(WHOLE)$(if $(filter-out dev,$(GROUP)),-$(GROUP)))
# A third of what is installed is ever imported, and Python compiles that when it is: to compile all takes a minute of CPU.
INSTALL = install --quiet --disable-pip-version-check --no-compile
# More than there are cores, up to a point: many tests wait for a server, and few compute.
JOBS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((cores < 4 ? 2 * cores + 1 : cores + 4)))
PARALLEL := --jobs $(JOBS)
# What is the same on each Python is left out: the text of the project, vendors' words, and tables of crashes.
SAME := project docs providers testing engine/test_ladder_*.py $(addsuffix .py, engine/test_engine_crashes engine/test_engine_again \
	cache/test_cache_engine otel/test_otel_crashes)
QUICK := $(addprefix --ignore-glob=tests/unit/, $(SAME)) tests/unit \
	$(addprefix tests/integration/, batcher/test_batcher.py batcher/test_batcher_ends.py \
	runner/test_events_hosts.py runner/test_last_progress.py runner/test_runner_runs.py runner/test_runner_ends.py \
	node/test_wait_rounds.py node/test_wait_shapes.py node/test_wait_retries.py dropin/test_wrap_ask.py dropin/test_wrap_pending.py)
AEGRA_PYTHON ?= python3.12
EXTRAS := server,web,anthropic,gemini,yaml,notify,otel,pool
# Holes of what only the tests ask for, at its lowest versions: `tests/unit/project/test_known_holes.py` says why.
ACCEPTED := --ignore-vuln GHSA-gr75-jv2w-4656 --ignore-vuln GHSA-r7w7-9xr2-qq2r

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(if $(VERSION),:,echo 'No $(PYTHON) runs here; name another one with: make PYTHON=python3.12'; exit 1)
	@$(PYTHON) -c 'import sys; sys.exit("BatchBridge needs Python 3.11 or newer, and this is " + sys.version.split()[0] + "; name another one with: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(if $(wildcard $(READY)),,--clear) $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/pip $(INSTALL) -c constraints.txt -e '.[$(EXTRAS)]' --group $(GROUP)
	$(if $(filter dev,$(GROUP)),$(BIN)/pip $(INSTALL) -c constraints.txt --no-deps --group together)
	@touch $(READY)

.PHONY: env
env: $(READY) ## Make the environment, .venv

.PHONY: demo
demo: $(READY) ## Run the main job: 2,000 docstrings through a graph; the same command continues after Ctrl-C
	@$(BIN)/python examples/demo.py $(ARGS)

.PHONY: serve
serve: $(READY) ## Run 200 agent threads on a LangGraph server here; ARGS=--keep leaves it running
	@$(BIN)/python examples/serve.py $(ARGS)

.PHONY: pool
pool: $(READY) ## Run 2,000 records in three processes on a Postgres of its own, and kill one in the middle
	@$(BIN)/python examples/pool.py $(ARGS)

.PHONY: test
test: $(READY) ## Run all tests, the big tables of faults in part; ARGS=--sample-seed=7 draws another part
	$(BIN)/pytest -q $(PARALLEL) $(ARGS)

.PHONY: test-all
test-all: $(READY) ## Run all tests, the big tables of faults whole
	$(BIN)/pytest -q $(PARALLEL) --all $(ARGS)

.PHONY: simulate
simulate: $(READY) ## Run 10,000 simulated histories on all cores; ARGS='--histories 500 --seed 7 --hosts runner' others
	cd tests && PYTHONHASHSEED=0 $(abspath $(BIN))/python -m simulation $(ARGS)

.PHONY: test-quick
test-quick: $(READY) ## Run what may differ from one Python to another; PYTHON=python3.13 says which
	$(BIN)/pytest -q $(PARALLEL) --brief $(QUICK) $(ARGS)

.PHONY: test-versions
test-versions: test-floor test-newest ## Run the tests with the lowest versions that are allowed, then with the newest

.PHONY: test-floor
test-floor: ## Run the tests with the lowest versions that are allowed, in .venv-floor
	$(PYTHON) -m venv --clear .venv-floor
	.venv-floor/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	.venv-floor/bin/pip install --quiet --disable-pip-version-check -c constraints-floor.txt -e '.[$(EXTRAS)]' --group test
	.venv-floor/bin/pytest -q $(PARALLEL) tests/unit tests/integration $(ARGS)

.PHONY: test-newest
test-newest: ## Run the tests with the newest versions that there are, in .venv-newest
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	.venv-newest/bin/pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]' --group test
	.venv-newest/bin/pytest -q $(PARALLEL) tests/unit tests/integration $(ARGS)

.PHONY: test-instructor
test-instructor: ## Run the tests of instructor, which needs an older openai than the newest, in .venv-instructor
	$(PYTHON) -m venv --clear .venv-instructor
	.venv-instructor/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	.venv-instructor/bin/pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]' --group test --group instructor
	.venv-instructor/bin/pytest -q tests/integration/dropin/test_frameworks.py $(ARGS)

.PHONY: test-aegra
test-aegra: $(READY) ## Run the tests beside Aegra, which is in .venv-aegra; needs Python 3.12, PostgreSQL and Redis
	@$(AEGRA_PYTHON) -c '' 2>/dev/null || { echo 'No $(AEGRA_PYTHON) runs here, which Aegra needs; name one: make test-aegra AEGRA_PYTHON=…'; exit 1; }
	$(AEGRA_PYTHON) -m venv .venv-aegra
	.venv-aegra/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	.venv-aegra/bin/pip install --quiet --disable-pip-version-check -e '.[pool]' --group aegra
	BATCH_BRIDGE_AEGRA_PYTHON=$(abspath .venv-aegra/bin/python) $(BIN)/pytest -q $(ARGS) \
		tests/acceptance/test_aegra_killed.py tests/acceptance/test_aegra_users.py

.PHONY: audit
audit: ## Look for known holes in the lowest and the pinned versions, at PyPI; needs the network
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip $(ACCEPTED) -r constraints-floor.txt

.PHONY: test-live
test-live: $(READY) ## Send a job of three requests to each real provider whose key is set; it costs a fraction of a cent
	$(BIN)/pytest -q -m live $(ARGS) tests/live

.PHONY: lint
lint: $(READY) ## Lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(READY) ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

.PHONY: types
types: $(READY) ## Check the types, and that two type checkers find the mistakes of users
	$(BIN)/mypy
	$(BIN)/pytest -q -m types tests/unit/project/test_typed_programs.py

.PHONY: layers
layers: $(READY) ## Check that imports go down the layers only
	$(BIN)/lint-imports --no-cache

.PHONY: check
check: $(READY) ## Everything that CI checks
	@$(MAKE) --no-print-directory -j 2 lint types layers test

.PHONY: bench
bench: $(READY) ## Measure against plain LangGraph, side by side; prints ratios
	$(BIN)/python benchmarks/bench.py $(ARGS)

.PHONY: bench-server
bench-server: $(READY) ## Measure against a script that resumes through the SDK, on a LangGraph server
	$(BIN)/python benchmarks/bench_server.py $(ARGS)

.PHONY: bench-pool
bench-pool: $(READY) ## Measure a pool against an app of procrastinate by hand, side by side; needs PostgreSQL
	$(BIN)/python benchmarks/bench_pool.py $(ARGS)

.PHONY: bench-waiting
bench-waiting: $(READY) ## Measure a pool in which 100,000 requests wait: intake, a quiet tick, a take-over; needs PostgreSQL
	$(BIN)/python benchmarks/bench_waiting.py $(ARGS)

.PHONY: soak
soak: $(READY) ## Send 200,000 requests in 2,000 batches through each host, and test that nothing it holds grows; an hour
	$(BIN)/python benchmarks/soak.py $(ARGS)

.PHONY: constraints
constraints: ## Resolve the newest versions anew, into constraints.txt
	rm -rf .venv-resolve
	$(PYTHON) -m venv .venv-resolve
	.venv-resolve/bin/pip install --quiet 'pip>=25.1'
	.venv-resolve/bin/pip install --quiet -e '.[$(EXTRAS)]' --group dev
	.venv-resolve/bin/pip install --quiet --no-deps --group together
	.venv-resolve/bin/pip freeze --exclude-editable --exclude pip > constraints.txt
	rm -rf .venv-resolve

.PHONY: constraints-floor
constraints-floor: ## Resolve the lowest versions that are allowed anew, into constraints-floor.txt
	$(PYTHON) -m venv --clear .venv-resolve
	.venv-resolve/bin/pip install --quiet uv
	.venv-resolve/bin/uv pip compile --quiet --no-annotate --no-header --python-version 3.11 --resolution lowest-direct \
		--all-extras --group test pyproject.toml -o constraints-floor.txt
	rm -rf .venv-resolve

.PHONY: clean
clean: ## Remove the environment and what the tools left behind
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build demo-state .langgraph_api
