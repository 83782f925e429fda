# Everything a newcomer types. PYTHON chooses the interpreter (3.11 or 3.12); the virtual environment is .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Of `make gpu`. To rehearse it where there is no GPU: make gpu DEVICE=cpu GEOMETRIES=small STEPS=40
# By parts, where a command may run for some minutes only: make gpu PARTS=tests; make gpu PARTS=geometry GEOMETRIES=mm1-3b; …
PARTS ?= tests geometry train generate
DEVICE ?= cuda
GEOMETRIES ?= mm1-3b,llama-8b-12,experts-8,experts-8-dense
OVERRIDES ?=
STEPS ?= 60
FIGURES ?= runs/gpu
SCRATCH ?= $(FIGURES)
# Most of the tests' time goes into compiling, which processes do side by side.
TESTERS ?= 4
# Read when CUDA starts: memory that was cut for other lengths is joined again instead of lost.
PYTORCH_ALLOC_CONF ?= expandable_segments:True

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
	export PYTORCH_ALLOC_CONF=$(PYTORCH_ALLOC_CONF) PYTHONPATH=src$${PYTHONPATH:+:$$PYTHONPATH}; \
	mkdir -p $(FIGURES) $(SCRATCH); \
	failed=; \
	wanted() { case " $(PARTS) " in *" $$1 "*) ;; *) return 1 ;; esac; }; \
	have() { $(PYTHON) tests/gpu/packages.py "$$2" || { echo "left out: mm1 bench $$1"; return 1; }; }; \
	try() { echo "$$@"; "$$@" || failed="$$failed; $$*"; }; \
	bench() { name=$$1; shift; try $(PYTHON) -m mm1.cli bench "$$@" --device $(DEVICE) --out $(FIGURES)/$$name.json; }; \
	if wanted tests; then \
	try $(PYTHON) -m pytest -m gpu tests/gpu -n $(TESTERS) --durations 10 --junitxml $(FIGURES)/tests.xml; fi; \
	if wanted geometry; then for name in $$(echo $(GEOMETRIES) | tr , ' '); do \
	bench $$name geometry $$name $(OVERRIDES) --steps $(STEPS) --folder $(SCRATCH); done; fi; \
	if wanted train && have train transformers; then bench train train --repetitions 3; fi; \
	if wanted generate && have generate 'transformers>=5.23'; then bench generate generate --repetitions 3; fi; \
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
