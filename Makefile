# Everything sets itself up: `make demo` and `make test` need only Python 3.11 or newer.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

PEERS := .venv-peers

.PHONY: demo demo-quick test lint format bench bench-peers regression

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

# Twelve minutes on a quiet machine: a table, a JSON, and how many of the figures are reached.
bench: $(READY)
	$(BIN)/python benchmarks/bench.py --to benchmarks/results/bench.json

# The short form, against the ratios that are committed.
regression: $(READY)
	$(BIN)/python benchmarks/regression.py

# In an environment of their own: transformers brings another version of the tokenizers.
bench-peers: $(PEERS)/.ready
	$(PEERS)/bin/python benchmarks/peers.py --to benchmarks/results/peers.json

$(PEERS)/.ready: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -e '.[plots]' pillow -r benchmarks/requirements.txt
	touch $@

# torch is named exactly, so that pip takes the CPU build and not gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
