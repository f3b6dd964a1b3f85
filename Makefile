# make demo   a fresh machine to a finished report
# make test   all tests
# make check  format, lint, types, import rules
# make bench  the figures of the documents, printed
# make test-jtop JETSON_STATS=4.3   the jtop meter against the service of an older jetson-stats
# make clean  remove the environment and the caches (runs and reports stay)
#
# PYTHON=/path/to/python names the interpreter (otherwise one of 3.8 or newer is looked for); VENV=dir the environment.
PYTHON ?=
VENV ?= .venv
JETSON_STATS ?= 4.3
BIN = $(VENV)/bin
MADE = $(VENV)/.made-by-make

.PHONY: demo test test-jtop check bench clean

$(MADE): pyproject.toml constraints.txt scripts/make-venv hatch_build.py ebbench/energy/sampler_process/sweeps.c
	@scripts/make-venv "$(PYTHON)" "$(VENV)"
	@touch $@

demo: $(MADE)
	@$(BIN)/ebbench run quickstart --out runs/demo
	@$(BIN)/ebbench report runs/demo --out report
	@echo "Open report/index.html"

test: $(MADE)
	@scripts/run-tests $(BIN)/python

test-jtop: $(MADE)
	@scripts/test-jtop $(BIN)/python $(JETSON_STATS)

check: $(MADE)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(MADE)
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

clean:
	rm -rf $(VENV) ebbench/energy/sampler_process/_sweeps.so dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
