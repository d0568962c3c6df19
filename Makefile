# Every target sets up .venv by itself on a fresh machine (Python 3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
APP_READY := .venv/.app
DEV_READY := .venv/.dev

# The lowest transformers that is allowed, and the one that is installed.
LOWEST := $(shell sed -n 's/^transformers>=\([0-9.]*\).*/\1/p' requirements.txt)
TESTED := $(shell sed -n 's/^transformers==//p' constraints.txt)
LOWEST_PATH := .venv/matrix/transformers-$(LOWEST)

.PHONY: app test test-gpu test-matrix check format bench bench-train train evaluate race space clean

app: $(APP_READY)  ## start the page and print its address
	$(BIN)/python -m app

test: $(DEV_READY)  ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-gpu: $(DEV_READY)  ## the tests that need a CUDA GPU
	$(BIN)/python -m pytest -m gpu tests/gpu

test-matrix: $(DEV_READY) $(LOWEST_PATH)  ## the tests of library and profiler on the lowest and the tested transformers
	PYTHONPATH=$(CURDIR)/$(LOWEST_PATH) $(BIN)/python -m pytest --numprocesses auto --dist loadfile --transformers=$(LOWEST) tests/skipcore tests/profiling
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --transformers=$(TESTED) tests/skipcore tests/profiling

check: $(DEV_READY)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV_READY)  ## mend lint and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(APP_READY)  ## ratios of one run each, JSON in the last line: three models, long prompts, the preset in every family
	$(BIN)/python -m profiling bench
	$(BIN)/python -m profiling bench-long
	PYTHONPATH=.:tests/helpers $(BIN)/python tests/bench_families.py

bench-train: $(APP_READY)  ## what a training step with Skip-Vision costs against a dense one, JSON in the last line
	$(BIN)/python -m profiling bench-train

train: $(DEV_READY)  ## train the built-in model anew
	$(BIN)/python -m skipcore.builtin train

evaluate: $(DEV_READY)  ## accuracy of the built-in model, which the page's quality panel shows
	$(BIN)/python -m skipcore.builtin evaluate --questions 400 --counts 100+156 36+100 --output assets/results/quality.json

race: $(DEV_READY)  ## all methods at equal FLOPs on the built-in model, which the page's quality panel shows
	$(BIN)/python -m profiling race --questions 120 --cost-prompts 1 --repeats 3

space: $(APP_READY)  ## the folder to upload as a Space, checked
	rm -rf runs/space
	$(BIN)/python -m app.server.space runs/space

clean:
	rm -rf .venv

$(APP_READY): requirements.txt constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

$(DEV_READY): requirements-dev.txt $(APP_READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@

# Nothing but transformers: everything else is the same in both runs.
$(LOWEST_PATH): | $(DEV_READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ transformers==$(LOWEST)
