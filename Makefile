# make lab and make test need nothing but a Python 3.11-3.13: each sets up .venv first, and skips that when it is done.

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
EXTRAS ?= notebooks,dev,fast
BIN := $(VENV)/bin
PYTEST_ARGS ?= -q
READY := $(VENV)/ready
BOOK_READY := $(VENV)/ready-book
PARITY_READY := $(VENV)/ready-parity

# What OpenBLAS is asked for, and why: minivis/openblas.py. Whoever has set a variable has decided already.
export OPENBLAS_THREAD_TIMEOUT ?= 20
ifneq ($(shell grep -m1 -o avx512vl /proc/cpuinfo 2>/dev/null),)
export OPENBLAS_CORETYPE ?= SkylakeX
endif

.PHONY: help lab test lint format fuzz mutation measure bench bench-gpu notebooks pair book book-check setup clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | awk -F '\t' '{printf "  make %-11s %s\n", $$1, $$2}'

lab: $(READY) ## open the tour and the other notebooks in JupyterLab; LAB_ARGS="--no-browser --port=8890" passes through
	$(BIN)/python scripts/open_lab.py $(LAB_ARGS)

test: $(READY) ## run the tests; PYTEST_ARGS="-q -k softmax" narrows them
	@$(BIN)/python scripts/system_packages.py bwrap=bubblewrap # what grading isolates with
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

fuzz: $(READY) ## give every reader of files thousands of broken ones; FUZZ_ARGS="--readers 'from_pretrained*' --mutants 100" narrows it
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

lint: $(READY) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## put style and formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mutation: $(READY) ## change one thing at a time in each right answer: do the laws notice? ONLY="conv2d nms" picks some
	$(BIN)/python -m tests.laws.mutation $(ONLY)

measure: $(READY) ## measure every small model that comes with minivis on 500 pictures it was not trained on
	$(BIN)/minivis measure

bench: $(PARITY_READY) ## measure against PyTorch on this CPU, side by side; writes tests/benchmarks/results
	$(BIN)/python -m tests.benchmarks --tests $(BENCH_ARGS); status=$$?; $(BIN)/python scripts/counts.py && exit $$status

bench-gpu: $(PARITY_READY) ## the same on a GPU (pip install -e ".[gpu]" first)
	$(BIN)/python -m tests.benchmarks --device gpu $(BENCH_ARGS)

notebooks: $(READY) ## execute every notebook once, into build/notebooks; ONLY="01 05" picks some
	$(BIN)/python scripts/run_notebooks.py $(ONLY)

pair: $(READY) ## make notebooks/*.ipynb from notebooks/src/*.py; PAIR_ARGS="--from-notebooks 05" first takes over edits
	$(BIN)/python scripts/pair_notebooks.py $(PAIR_ARGS)

book: $(BOOK_READY) ## build the book, book/_build/html/index.html; notebooks run where they or the library changed
	$(BIN)/python scripts/run_notebooks.py --changed
	$(BIN)/python scripts/build_book.py

book-check: book ## look at every page of the book in a headless browser; BOOK_CHECK=static does without one
	$(BIN)/python scripts/check_book.py
	$(BIN)/python scripts/click_in_a_browser.py

setup: $(READY) ## only set up .venv; PYTHON=python3.12 picks the Python that a new one is made with

# What is installed follows pyproject.toml: when it changes, the next make brings .venv up to date.
$(READY): pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(VENV) $(EXTRAS)
	@touch $@

# The book's packages come when they are first needed.
$(BOOK_READY): $(READY)
	@scripts/setup.sh $(VENV) $(EXTRAS),book
	@touch $@

# PyTorch, several hundred megabytes, comes when something is measured against it.
$(PARITY_READY): $(READY)
	@scripts/setup.sh $(VENV) $(EXTRAS),parity
	@touch $@

clean: ## remove what was built and trained here (build/, caches); .venv and runs/ stay
	rm -rf build dist book/_build .pytest_cache .ruff_cache .hypothesis
	find minivis tests scripts notebooks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
