# Every target sets up what it needs; a second call finds it done and starts at once.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
# One process a core, one thread a process: threads that wait for each other waste both.
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

.PHONY: demo test check types setup
.DEFAULT_GOAL := check

demo: $(READY)
	$(BIN)/aqakit demo --out demo --overwrite

test: $(READY)
	$(TEST)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types
	$(TEST)

# mypy names modules after the folder they lie in, and a checkout may have any name.
types: $(READY)
	link=$$(mktemp -d) && trap 'rm -r "$$link"' EXIT && ln -s "$(CURDIR)" "$$link/aqakit" && \
	cd "$$link" && $(BIN)/mypy --config-file "$(CURDIR)/setup.cfg" \
	--cache-dir "$(CURDIR)/.mypy_cache" --explicit-package-bases aqakit

setup: $(READY)

$(READY): requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("aqakit needs Python 3.11 or newer: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)
