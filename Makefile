# Two commands for a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check ray docs recipe clean
.DEFAULT_GOAL := demo

# torch comes first and pinned: a plain `pip install torch` may bring gigabytes of CUDA.
$(BIN)/mamtra: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(BIN)/mamtra
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(BIN)/mamtra  ## Install and speak a sentence.
	$(BIN)/mamtra synth "Hello from mamtra. This voice was trained from nothing, and it runs on your laptop." -o demo.wav --force

test: $(VENV)/.dev  ## Install the test tools and run the tests.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: $(VENV)/.dev  ## Lint, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit.py

ray: $(VENV)/.dev  ## Run the tests that start a Ray on this machine.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest --ray -m ray

docs: $(VENV)/.dev  ## Build the site; a broken link is an error.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

recipe: $(VENV)/.dev  ## Rehearse every stage of mini's recipe on what mini says: shows that it runs.
	rm -rf work/smoke
	$(BIN)/python examples/mini/run.py --smoke --out work/smoke/natural
	$(BIN)/python examples/mini/run.py --smoke --source synthesizers --out work/smoke/first

clean:
	rm -rf $(VENV) site demo.wav
