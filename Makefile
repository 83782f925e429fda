# Everything a newcomer types. PYTHON chooses the interpreter (3.11 or 3.12); the virtual environment is .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Of `make gpu`. To rehearse it where there is no GPU: make gpu DEVICE=cpu GEOMETRIES=small STEPS=40
DEVICE ?= cuda
GEOMETRIES ?= mm1-3b,llama-8b-12,experts-8,experts-8-dense
STEPS ?= 60
FIGURES ?= runs/gpu
SCRATCH ?= $(FIGURES)

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

gpu:                              ## GPU tests and benchmarks, figures in $(FIGURES), with the interpreter at hand (no network)
	@$(PYTHON) tests/gpu/packages.py || exit 1; \
	mkdir -p $(FIGURES); \
	failed=; \
	try() { echo "$$@"; PYTHONPATH=src$${PYTHONPATH:+:$$PYTHONPATH} "$$@" || failed="$$failed; $$*"; }; \
	bench() { what=$$1; shift; try $(PYTHON) -m mm1.cli bench $$what "$$@" --device $(DEVICE) --out $(FIGURES)/$$what.json; }; \
	try $(PYTHON) -m pytest -m gpu tests/gpu --junitxml $(FIGURES)/tests.xml; \
	bench geometry $(GEOMETRIES) --steps $(STEPS) --folder $(SCRATCH); \
	if $(PYTHON) tests/gpu/packages.py transformers; then \
	bench train --repetitions 3; \
	bench generate --repetitions 3; \
	else echo "left out: mm1 bench train and mm1 bench generate, which compare with transformers"; fi; \
	test -z "$$failed" || { echo "failed$$failed"; exit 1; }

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
