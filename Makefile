# Every target sets up what it needs: a virtual environment in .venv, from pip and the pinned versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint long parity clean

demo: .venv/installed  ## train a small CLIP here and now and write a report to look at
	$(BIN)/diptych demo

test: .venv/installed  ## the default tests, a process a core
	$(BIN)/python -m pytest -n 2

lint: .venv/installed  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check diptych --python .venv

long: .venv/installed  ## the tests that take minutes
	$(BIN)/python -m pytest -m long

parity: .venv-parity/installed  ## compare with OpenCLIP, in an environment of its own
	.venv-parity/bin/python -m pytest -m parity

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Diptych needs Python 3.11 or later")'
	$(PYTHON) -m venv --clear .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

.venv-parity/installed: pyproject.toml constraints.txt constraints-parity.txt
	$(PYTHON) -m venv --clear .venv-parity
	PIP_CONSTRAINT=constraints.txt .venv-parity/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-parity.txt
	touch $@

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache .hypothesis
