# Each target makes .venv by itself the first time and is instant after that.
.DEFAULT_GOAL := help
# The first of these that is 3.11 or newer and can make environments; 3.11 leads because the pins are tested with it.
PYTHONS ?= python3.11 python3.12 python3.13 python3 python
CONSTRAINTS ?= constraints.txt
# On Linux, PyPI's torch brings CUDA along. TORCH_INDEX names a second index to look on; see `make help`.
TORCH_INDEX ?=
PIP_FLAGS = --quiet --disable-pip-version-check -c $(CONSTRAINTS) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
BIN = .venv/bin
# Tests run in so many processes of one thread each: small networks gain more by that than by threads.
WORKERS ?= 2
# Threads that wait asleep: spinning ones make small networks up to a hundred times slower when the machine is busy.
export OMP_WAIT_POLICY ?= passive
# Pocket's passes are too small to share: on two cores one thread took 0.07 s, two that spin 0.05 s, two that sleep
# 0.11 s. For Stable Diffusion on a CPU name your cores: make lab THREADS=8
THREADS ?= 1

.PHONY: help lab demo test lint format notebooks site train-pocket bench-pocket pocket-report pins clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { split($$1, names, " "); printf "  make %-14s %s\n", names[1], $$2 }' Makefile
	@echo
	@echo "On Linux without an NVIDIA GPU, the first call may save a download of over 2 GB:"
	@echo "  make lab TORCH_INDEX=https://download.pytorch.org/whl/cpu"

lab: .venv/.installed ## open the first notebook in JupyterLab
	OMP_NUM_THREADS=$(THREADS) $(BIN)/jupyter lab $$(test "$$(id -u)" != 0 || echo --allow-root) notebooks/00_first_drag.ipynb

demo: .venv/.installed ## the same drag without a browser; results in runs/demo
	OMP_NUM_THREADS=$(THREADS) $(BIN)/gooddrag edit gooddrag/pocket/examples/move-3 --out runs/demo --animate

test: .venv/.installed ## run every test, notebooks and browser included (choose some: PYTEST_ARGS="-k schedule")
	-@$(BIN)/python tests/browser/find_browser.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: .venv/.installed ## check formatting, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/.installed ## let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: .venv/.installed ## run every notebook again and store its outputs
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

site: .venv/.installed ## the lessons as static pages in runs/site, as they were last run
	$(BIN)/sphinx-build -q -W -b html -c docs . runs/site
	@echo '<meta http-equiv="refresh" content="0; url=docs/index.html">' > runs/site/index.html
	@echo "Open runs/site/index.html in a browser."

train-pocket: .venv/.installed ## go on training the pocket engine (hours; stop and resume at will)
	nice -n 19 $(BIN)/gooddrag train-pocket $(TRAIN_ARGS)

bench-pocket pocket-report: .venv/.installed ## every method on 64 pocket tasks, with verdicts (hours; resumes where it was)
	$(BIN)/python -m gooddrag.bench.pocket_report $(REPORT_ARGS)

pins: .venv/.installed ## write what .venv holds to constraints.txt (its first lines say how to renew it)
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip \
	  --exclude setuptools --exclude wheel | sed 's/+.*//'; } > constraints.tmp && mv constraints.tmp constraints.txt
	@touch .venv/.installed

clean: ## remove the environment, caches and build leftovers (results in runs/ stay)
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment whose making was cut short has no pip and gets one; one whose Python is gone is made anew.
.venv/.installed: pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || for python in $(PYTHONS); do \
	  "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -m venv $$($(BIN)/python -c '' 2>/dev/null || echo --clear) .venv; break; \
	done
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "gooddrag needs Python 3.11 or newer with venv: please install it (on Debian and Ubuntu: apt install python3-venv)."; \
	  exit 1; }
	@echo "Installing into .venv (a few minutes, once) …"
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@
