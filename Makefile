PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2
export TRANSFORMERS_VERBOSITY ?= error
export HF_HUB_DISABLE_PROGRESS_BARS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup train test lint bench nightly pair recording clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/ready ## Make .venv with everything; costs nothing the second time

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@

train: setup ## Train a controller on the embedded pair, judge it, write runs/latest/report.md
	$(BIN)/python train.py

test: setup lint ## Every check but the heavy ones: lint, types, tests
	$(BIN)/python -m pytest -n 2 -m "not bench"

lint: setup ## Ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## One JSON line per figure: name, value, unit, goal
	@$(BIN)/python -m tests.bench
	@$(BIN)/python -m tests.speed

nightly: setup ## Every test, the heavy ones too
	$(BIN)/python -m pytest -n 2

pair: setup ## Train the embedded pair and its acceptance head anew, record it, measure its card (hours)
	$(BIN)/python -m covspec_core.pair.train
	$(BIN)/python -m covspec_core.pair.head
	$(MAKE) recording
	$(BIN)/python -m covspec_core.pair.card

recording: setup ## Record the embedded pair anew, score its acceptance head (minutes)
	$(BIN)/python -m covspec_core.pair.record
	$(BIN)/python -m policies.head_scores

clean: ## Remove the environment and caches, not the runs
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
