# Every target sets up what it needs: a virtual environment in .venv, from pip and the pinned versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint long parity clean

demo: .venv/package  ## train a small CLIP here and now and write a report to look at
	$(BIN)/diptych demo

test: .venv/tools  ## the default tests, a process a core
	$(BIN)/python -m pytest -n 2

lint: .venv/tools  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check diptych --python .venv

long: .venv/tools  ## the tests that take minutes
	$(BIN)/python -m pytest -m long

parity: .venv-parity/installed  ## compare with OpenCLIP, in an environment of its own
	.venv-parity/bin/python -m pytest -m parity

# What the package runs with. A new environment takes the tools' stamp with it, so they are installed again too.
.venv/package: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Diptych needs Python 3.11 or later")'
	@echo "Installing PyTorch and the rest into .venv: some minutes, about 1.4 GB; several where pip takes PyTorch with CUDA."
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) -e .
	@touch $@

.venv/tools: .venv/package
	@echo "Installing what tests and checks need into .venv."
	@$(PIP) -e ".[dev]"
	@touch $@

.venv-parity/installed: pyproject.toml constraints.txt constraints-parity.txt
	@echo "Installing PyTorch, OpenCLIP and the rest into .venv-parity: some minutes."
	$(PYTHON) -m venv --clear .venv-parity
	PIP_CONSTRAINT=constraints.txt .venv-parity/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]" requests
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-parity.txt
	touch $@

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache .hypothesis
