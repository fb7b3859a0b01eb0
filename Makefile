# make        build .venv with everything the tests need
# make demo   classify real handwritten digits, live, in the terminal (OPEN=--open: then the notebook)
# make test   everything that is checked: style, types, tests
# make storm  sixty random kills in one run, compared byte by byte
# make bench  the figures of the README
# make peers  the same scripts under this project and under what people would use instead

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: all demo test browser lint types storm bench peers clean
.DELETE_ON_ERROR:

all: $(VENV)/.test

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit('Python 3.10 or newer is needed; name one: make PYTHON=python3.12') if sys.version_info < (3, 10) else None"
	$(PYTHON) -m venv $(VENV)

# A stamp for each set of packages: they are installed again when what they come from changes.
# Installing builds the front end; the Node for that comes from PyPI.
FRONT_END := $(shell find labextension/src labextension/style labextension/package*.json -type f)

$(VENV)/.demo: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	$(PIP) install --quiet --editable ".[demo,jupyter]"
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	$(PIP) install --quiet --editable ".[test]"
	touch $@ $(VENV)/.demo

$(VENV)/.bench: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	$(PIP) install --quiet --editable ".[bench]"
	touch $@

labextension/node_modules/.package-lock.json: labextension/package-lock.json $(VENV)/.test
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --silent
	touch $@

tests/azurite/node_modules/.package-lock.json: tests/azurite/package-lock.json $(VENV)/.test
	cd tests/azurite && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --silent
	touch $@

demo: $(VENV)/.demo
	$(BIN)/parallelrun demo $(OPEN)

test: browser lint types tests/azurite/node_modules/.package-lock.json
	$(BIN)/python -m pytest

# The browser tests skip without Chromium on a laptop, and fail without it where CI is set.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	        --no-install-recommends chromium fonts-dejavu-core fonts-liberation; \
	else echo "no Chromium here: the browser tests will be skipped"; fi

lint: $(VENV)/.test labextension/node_modules/.package-lock.json
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent lint

types: $(VENV)/.test labextension/node_modules/.package-lock.json
	$(BIN)/mypy
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent types
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent test

storm: $(VENV)/.test
	STORM_KILLS=60 $(BIN)/python -m pytest tests/real/test_resume.py tests/real/test_dask_storm.py -k storm

bench: $(VENV)/.test tests/azurite/node_modules/.package-lock.json
	$(BIN)/python -m benchmarks

peers: $(VENV)/.bench
	$(BIN)/python -m benchmarks peers

clean:
	rm -rf $(VENV) tests/azurite/node_modules labextension/node_modules labextension/lib parallelrun_jupyter/labextension \
	    parallelrun_jupyter/views/static parallelrun-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
