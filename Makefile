# Each target makes .venv by itself the first time and is instant after that.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CONSTRAINTS ?= constraints.txt
# On Linux, PyPI's torch brings 2 GB of CUDA along. Without an NVIDIA GPU:
#   make lab TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP_FLAGS = --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c $(CONSTRAINTS)
BIN = .venv/bin
# Python that is new enough: the first of these that works.
PYTHONS = python3.11 python3.12 python3.13 python3 python

.PHONY: help lab demo test lint format notebooks train-pocket clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

lab: .venv/.installed ## open the first notebook in JupyterLab
	$(BIN)/jupyter lab $$([ "$$(id -u)" = 0 ] && echo --allow-root) notebooks/00_first_drag.ipynb

demo: .venv/.installed ## the same drag without a browser; results in runs/demo
	$(BIN)/gooddrag edit gooddrag/pocket/examples/lift --out runs/demo --animate

test: .venv/.installed ## run every test, notebooks included
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/.installed ## formatting, style, types, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/.installed ## let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: .venv/.installed ## run every notebook again and store its outputs
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb

train-pocket: .venv/.installed ## go on training the pocket engine (hours; stop and resume at will)
	nice -n 19 $(BIN)/gooddrag train-pocket $(TRAIN_ARGS)

clean: ## remove the environment and caches (results in runs/ stay)
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints.txt
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    [ -x $(BIN)/python ] || "$$python" -m venv .venv || exit 1; break; \
	  fi; \
	done; \
	[ -x $(BIN)/python ] || { echo "gooddrag needs Python 3.11 or newer with venv: install it (on Debian: apt install python3 python3-venv)."; exit 1; }
	@echo "Installing into .venv (a few minutes, once) …"
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@
