# Everything runs in a virtual environment in .venv; PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Dozens of processes start in a test run: without byte code each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE
# JupyterLab starts for root, as in containers, only when it is told to; and it lists no extensions of others.
LAB_OPTIONS := --LabApp.extension_manager=readonly $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: demo test suite style types test-pages test-browser test-replicas test-stops test-containers lint format bench notebooks notebooks-pair docs clean

$(STAMP): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "CLF needs Python 3.11 or later; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --clear .venv
	@# The file is complete, so nothing is resolved; what is never imported needs no byte code: Python writes the rest.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(STAMP)
	$(BIN)/clf demo

lint: style types

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Types are checked beside the tests, on the time that these wait.
test: style
	@$(MAKE) --no-print-directory --jobs=2 types suite

# More workers than cores: many tests wait for processes that they start.
suite: $(STAMP)
	$(BIN)/python -m pytest -n 3 --dist loadgroup --ignore tests/browser -m "not whole"

# Notebooks, pages and benchmarks, each from beginning to end.
test-pages: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --ignore tests/browser -m whole

test-browser: $(STAMP)
	$(BIN)/python -m pytest tests/browser

# The server's tests again, with each server two replicas on PostgreSQL and an S3-compatible store.
test-replicas: $(STAMP)
	$(BIN)/python -m pytest -n 2 tests/server --backend replicated

# Servers that are stopped or killed 200 times while uploads arrive, and while jobs run.
test-stops: $(STAMP)
	$(BIN)/python -m pytest tests/attacks/test_stops.py --rounds 200 --timeout 3600

# Images, built and run with an engine of the test's own; it says so where this machine can't (as root).
test-containers: $(STAMP)
	$(BIN)/python tests/containers/run.py --thorough

bench: $(STAMP)
	$(BIN)/python -m benchmarks

notebooks: $(STAMP)
	$(BIN)/python -m clf_sdk.testing --directory notebooks/cluster -- $(BIN)/jupyter lab $(LAB_OPTIONS) notebooks

notebooks-pair: $(STAMP)
	$(BIN)/jupytext --quiet --to ipynb notebooks/*.py

docs: $(STAMP)
	$(BIN)/python tools/make_reference.py docs
	$(BIN)/zensical build --strict

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis
