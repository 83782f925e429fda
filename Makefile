# Everything a newcomer types. PYTHON chooses the interpreter (3.11 or 3.12); the virtual environment is .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check gpu clean

demo: .venv/.installed            ## train, evaluate and report the tiny MM1 on the CPU
	$(BIN)/mm1 run tiny

test: .venv/.installed-dev        ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

check: .venv/.installed-dev       ## lint, formatting, types, import layers
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

gpu:                              ## GPU tests and the benchmark with the interpreter at hand (torch with CUDA, no network)
	PYTHONPATH=src $(PYTHON) -m pytest -m gpu tests/gpu
	PYTHONPATH=src $(PYTHON) -m mm1.cli bench train --device cuda

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e .
	touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[dev]'
	touch $@ .venv/.installed

clean:
	rm -rf .venv runs
