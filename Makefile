# Everything sets itself up: `make demo` and `make test` need only Python 3.11 or newer.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo demo-quick test lint format

demo: $(READY)
	$(BIN)/allinone demo --to runs/demo

demo-quick: $(READY)
	$(BIN)/allinone demo --quick --to runs/demo-quick

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch is named exactly, so that pip takes the CPU build and not gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
