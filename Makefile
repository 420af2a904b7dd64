# `make run` and `make test` set everything up first; a second call installs nothing.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install browser run test test-fast check format clean

help:
	@echo "make run    set up and run the default sweep on this machine (options: make run ARGS='batch=8,16')"
	@echo "make test   set up and run all tests"
	@echo "make test-fast the same without compiler, browser, real clips, and processes"
	@echo "make browser install Debian's Chromium, where there is none, for the tests that open a report in it (as root)"
	@echo "make check  set up, lint and check types"
	@echo "make format set up and format the code"
	@echo "make clean  remove the virtual environment"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

browser:
	command -v chromium chromium-browser google-chrome || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium; }

run: $(INSTALLED)
	$(BIN)/python -m harness $(ARGS)

# Two files at a time, a thread each: threads of torch that fight for cores slow each other tenfold. The longest files
# come first (tests/conftest.py), so that none is left when all others are through. Threads of the few tests that have two
# do not spin while they wait for a core. Modules are compiled once, and not by each of the processes that tests start.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	$(PYTEST) $(ARGS)

test-fast: $(INSTALLED)
	$(PYTEST) -m "not (processes or compiler or browser or clips or slow)" $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)
