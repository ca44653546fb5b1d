# Needs Python 3.11 or newer and make; everything else goes into .venv, in the versions of constraints.txt.
PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := install --quiet --disable-pip-version-check --constraint constraints.txt
PINS := pyproject.toml constraints.txt
# tests/conftest.py decides how many processes there are, and which tests share one.
# A process that dies fails its test and is not replaced: pytest-xdist 3.8 hangs if one is.
PARALLEL := --numprocesses auto --dist loadscope --max-worker-restart 0
FAST_TESTS := tests/core tests/record tests/strategies tests/config tests/data tests/reports tests/tasks \
	tests/test_layers.py tests/test_metrics.py tests/test_mini.py tests/test_nn.py tests/test_state.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check format lint types tests test-fast test-long docs docs-check wheel wheel-check clean bench

help: ## Show what can be made (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Install, then train a population on scikit-learn's digits
	@echo "training 10 members for 20 intervals, in less than a minute:"
	$(BIN)/popgrad run digits

test: check ## The same as check

check: lint types tests ## Everything that must pass: format, lint, types, tests

format: $(VENV)/.installed-dev ## Format the code and put right what lint can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lint: $(VENV)/.installed-dev ## Look at format and style, change nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev ## Strict mypy on src
	$(BIN)/mypy

tests: $(VENV)/.installed-dev ## The tests, on all cores; e.g. PYTEST_ARGS="-k space -x"
	$(BIN)/pytest $(PARALLEL) $(PYTEST_ARGS)

test-fast: $(VENV)/.installed-dev ## The pure parts, for while one works: under a minute
	$(BIN)/pytest $(PARALLEL) $(FAST_TESTS) $(PYTEST_ARGS)

test-long: $(VENV)/.installed-dev ## The tests that take minutes: more than a hundred kills
	$(BIN)/pytest -m long -s $(PYTEST_ARGS)

docs: $(VENV)/.installed-dev ## Write the reference of all keys, and their keywords, from the code
	$(BIN)/python docs/generate.py

docs-check: $(VENV)/.installed-dev ## Only what the documentation promises: links, snippets, commands
	$(BIN)/pytest tests/test_docs.py $(PYTEST_ARGS)

wheel: $(VENV)/.installed-dev ## Build dist/popgrad-*.whl
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

wheel-check: wheel ## Install the wheel into an empty environment and run the demo from elsewhere
	@set -eu; away=$$(mktemp -d); trap 'rm -rf "$$away"' EXIT; \
	$(PYTHON) -m venv "$$away/venv"; \
	"$$away/venv/bin/pip" $(INSTALL) dist/*.whl; \
	cd "$$away"; unset PYTHONPATH; \
	venv/bin/popgrad run digits --dir "$$away/run"; \
	venv/bin/popgrad show "$$away/run"; \
	echo "wheel-check: the installed wheel runs the demo"

bench: $(VENV)/.installed-dev ## Run all benchmarks and write docs/performance.md and docs/scaling.md; takes long, needs a machine at rest
	$(BIN)/pip $(INSTALL) --no-build-isolation --editable '.[dev,benchmark]'
	@set -e; for name in overhead own_loop peers_fc peers_toy vectorised step exploit scale cluster; do \
	$(BIN)/python benchmarks/$$name.py; \
	done
	$(BIN)/python benchmarks/scaling.py --repeat 1
	$(BIN)/python benchmarks/performance.py --page
	$(BIN)/python benchmarks/planning.py

clean: ## Remove what was built; keeps .venv and runs
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# A stamp is made again when what it was installed from changes. The builder is pinned like the rest, and so builds
# are not isolated: an isolated one would fetch whatever release of it is newest.
$(VENV)/.installed: $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "popgrad needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": name another with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the builder"
	$(BIN)/pip $(INSTALL) hatchling editables
	@echo "installing torch and the rest (half a gigabyte, with CUDA several): minutes without a line"
	$(BIN)/pip $(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what tests need: a minute or more without a line"
	$(BIN)/pip $(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@
