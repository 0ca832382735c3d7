# Every target sets up what it needs; a second call finds it done and starts at once.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
# One process a core, one thread a process: threads that wait for each other waste both.
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

.PHONY: demo test check types setup browser
.DEFAULT_GOAL := check

demo: $(READY)
	$(BIN)/aqakit demo --out demo --overwrite

test: $(READY) browser
	$(TEST)

check: $(READY) browser
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

# The page of a run is tested in Chromium. Only root can install it, in a container for example; where
# it is absent, those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && { \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null 2>&1 || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; }; }; } || \
	    echo "no chromium: the page is not tested in a browser (apt-get install chromium)"

$(READY): requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("aqakit needs Python 3.11 or newer: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)
