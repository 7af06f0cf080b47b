# Everything runs from .venv, which `make setup` creates; any other target creates it when it is missing.
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
EXTRAS  ?= test,dev,view
CLI     := $(BIN)/nvf-cli

SOURCE  ?= human36m
OUT     ?= shards
SHARDS  ?= shards
RUN     ?= runs/latest
WORKERS ?= $(shell nproc)
MINUTES ?= 10
# Tests of one file share what they made, so a file stays in one process; more than eight gain nothing.
PARALLEL := -n $(WORKERS) --maxprocesses 8 --dist loadfile
SEEDS   ?= 3
MODELS  ?=
ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast preprocess train evaluate compare bench lint hooks clean

help:                 ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1 | \2/' | column -t -s '|'
	@echo
	@echo "  make preprocess SOURCE=human36m ROOT=/data/h36m OUT=shards"
	@echo "  make train SHARDS=shards RUN=runs/x"
	@echo "  Anything further goes in ARGS, e.g. ARGS='--limit 500'; $(CLI) COMMAND --help lists it."

setup: $(VENV)/.ready ## the virtual environment at the versions of requirements.lock, pysdf built where a compiler is found

$(VENV)/.ready: pyproject.toml requirements.lock tools/build_pysdf.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] < (3, 13) else "Python 3.11 or 3.12 is needed, this is " + sys.version.split()[0] + "; remove $(VENV) and set PYTHON=python3.11")'
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[$(EXTRAS)]'
	sh tools/build_pysdf.sh $(BIN)/python
	touch $@

demo: setup           ## free body -> capture -> shards -> trained, evaluated field, with a report (12 to 20 minutes on 2 cores)
	$(CLI) demo runs/demo $(ARGS)

test: setup           ## WORKERS=: the whole test suite, in as many processes as there are cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-fast: setup      ## what takes less than about a second a test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m fast $(PARALLEL) $(ARGS)

preprocess: setup     ## SOURCE= ROOT= OUT=: a dataset -> shards of field samples
	@test -n "$(ROOT)" || { echo "ROOT is missing: make preprocess SOURCE=$(SOURCE) ROOT=/path/to/dataset OUT=$(OUT)"; exit 2; }
	$(CLI) preprocess $(SOURCE) "$(ROOT)" "$(OUT)" --workers $(WORKERS) $(ARGS)

train: setup          ## SHARDS= RUN=: shards -> a trained field
	$(CLI) train "$(SHARDS)" "$(RUN)" $(ARGS)

evaluate: setup       ## RUN= SHARDS=: a trained field -> MPJPE and PA-MPJPE
	$(CLI) evaluate "$(RUN)" "$(SHARDS)" $(ARGS)

compare: setup        ## MINUTES= SEEDS= MODELS=: the field against its baselines, equal time, same encoder
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.compare runs/compare --minutes $(MINUTES) --seeds $(SEEDS) $(if $(MODELS),--models "$(MODELS)") $(ARGS)

bench: setup          ## the quick form of every benchmark; docs/ say how to run each in full
	@for script in benchmarks/[a-z]*.py; do name=$$(basename $$script .py); echo "== benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name --quick || exit 1; done

lint: setup           ## format, faults, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

hooks: setup          ## the checks of `make lint` before each commit, from here on
	$(BIN)/pre-commit install

clean:                ## remove build leftovers (never data, shards or runs)
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
