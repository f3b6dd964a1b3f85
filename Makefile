# make demo   a fresh machine to a finished report
# make test   all tests
# make check  format, lint, types, import rules
# make bench  the figures of the README, printed
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test check bench clean

$(BIN)/ebbench: pyproject.toml constraints.txt
	@scripts/make-venv "$(PYTHON)" "$(VENV)"

demo: $(BIN)/ebbench
	@$(BIN)/ebbench run quickstart --out runs/demo
	@$(BIN)/ebbench report runs/demo --out report
	@echo "Open report/index.html"

test: $(BIN)/ebbench
	$(BIN)/python -m pytest

check: $(BIN)/ebbench
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(BIN)/ebbench
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
