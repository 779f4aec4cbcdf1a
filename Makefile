# The commands a newcomer types. `make check` is what CI runs, to the letter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: up down test check lint types imports unit soak proto bench spike deps clean

deps:
	@PYTHON=$(PYTHON) deploy/install.sh

up: deps
	$(BIN)/argosy up --demo

down: deps
	$(BIN)/argosy down

test: deps check unit

check: deps lint types imports

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

unit:
	$(BIN)/python -m tests

# Many more seeds of the simulation than CI runs: make soak SEEDS=1000-3000
SEEDS ?= 200-999
soak: deps
	$(BIN)/python -m tests.sim --seeds $(SEEDS)

# Prints figures beside those of the peers; nothing fails for being slow.
bench: deps
	$(BIN)/python -m tests.bench

# Load comes and goes; pods and nodes follow, in three ways. Prints timelines and their lag, writes spike-*.svg.
spike: deps
	$(BIN)/python -m tests.spike

proto: deps
	$(BIN)/python deploy/tools/protos.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
