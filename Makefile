# make        build .venv with everything the tests need
# make demo   classify real handwritten digits, live, in the terminal (OPEN=--open: then the notebook)
# make test   everything that is checked: style, types, tests
# make storm  sixty random kills in one run, compared byte by byte
# make bench  the figures of the README
# make peers  the same scripts under this project and under what people would use instead
#
# make site   the documentation as a site, in docs/_build/html
#
# Parts of `make test`, which GitHub's jobs run one by one: lint, types, pure, contract, docs
# make coverage  lines and branches that tests/pure and tests/contract execute, with a minimum
# make oldest    tests/pure and tests/contract with the oldest allowed versions of all dependencies
# make hooks     the checks of .pre-commit-config.yaml before each commit
# make dist      the sdist and the wheel that a release publishes, in dist/, checked

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OLDEST := .venv-oldest
OLDEST_PYTHON ?= 3.10
PROCESSES ?= 3

# Some containers forbid Python to keep byte code; the many processes of the tests would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: all demo test checked browser environments lint types pure contract docs site coverage oldest dist hooks storm bench peers clean
.DELETE_ON_ERROR:

all: $(VENV)/.test

# Runs a command; shows what it printed only if it fails.
QUIETLY = quietly() { log=$$(mktemp) && trap 'rm -f "$$log"' EXIT && { "$$@" >"$$log" 2>&1 || \
    { status=$$?; cat "$$log"; echo "This failed: $$*"; \
      echo "Its output is above. Run make again when the cause is gone: what is installed is kept."; \
      exit "$$status"; } >&2; }; }; quietly
INSTALL := $(PIP) install --quiet --editable
WITH_NODE := export PATH="$(CURDIR)/$(BIN):$$PATH"

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: install Python 3.10 or newer," \
	    "or name the one you have: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed," \
	    "and $(PYTHON) is $$($(PYTHON) --version 2>&1): install a newer one," \
	    "or name the one you have: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make an environment:" \
	    "its modules venv and ensurepip are missing." \
	    "On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@$(QUIETLY) $(PYTHON) -m venv $(VENV)

# A stamp for each set of packages: they are installed again when what they come from changes.
# Installing builds the front end; the Node for that comes from PyPI.
FRONT_END := $(shell find labextension/src labextension/style labextension/package*.json -type f)

$(VENV)/.demo: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	@echo "Installing what the demo needs into $(VENV) (600 MB, about a minute) ..."
	@$(QUIETLY) $(INSTALL) ".[demo,jupyter]"
	@touch $@

$(VENV)/.pure: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	@echo "Installing what the tests without processes need into $(VENV) ..."
	@$(QUIETLY) $(INSTALL) ".[pure]"
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	@echo "Installing what the documentation needs into $(VENV) ..."
	@$(QUIETLY) $(INSTALL) ".[docs,pure]"
	@touch $@ $(VENV)/.pure $(VENV)/.demo

$(VENV)/.test: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	@echo "Installing what the tests need into $(VENV) (3 GB, some minutes) ..."
	@$(QUIETLY) $(INSTALL) ".[test]"
	@touch $@ $(VENV)/.docs $(VENV)/.pure $(VENV)/.demo

$(VENV)/.bench: $(BIN)/python pyproject.toml parallelrun_azureml.pth hatch_build.py $(FRONT_END)
	@echo "Installing what the comparison needs into $(VENV) ..."
	@$(QUIETLY) $(INSTALL) ".[bench]"
	@touch $@

labextension/node_modules/.package-lock.json: labextension/package-lock.json $(VENV)/.test
	@echo "Installing the packages of the front end with npm ..."
	@$(WITH_NODE); cd labextension; $(QUIETLY) npm ci --no-audit --no-fund --loglevel=error
	@touch $@

tests/azurite/node_modules/.package-lock.json: tests/azurite/package-lock.json $(VENV)/.test
	@echo "Installing Azurite, the blob store of the tests, with npm ..."
	@$(WITH_NODE); cd tests/azurite; $(QUIETLY) npm ci --no-audit --no-fund --loglevel=error
	@touch $@

tests/front_ends/node_modules/.package-lock.json: tests/front_ends/package-lock.json $(VENV)/.test
	cd tests/front_ends && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --silent
	touch $@

demo: $(VENV)/.demo
	@$(BIN)/parallelrun demo $(OPEN)

# All rings in one run, whose processes each take the next file: first those of tests/real, which wait
# for processes of their own, then the many short ones, which fill the end. Those that hold a stop-watch
# to a page or a journal come last, alone.
#
# The packages come before all else: with `make -j` a second installation (.docs, for the site) would
# build the front end in the same folder at the same time.
test: $(VENV)/.test
	@$(MAKE) --no-print-directory checked

checked: browser environments lint types site tests/azurite/node_modules/.package-lock.json \
    tests/front_ends/node_modules/.package-lock.json
	@status=0; set -x; \
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder \
	    -m "not alone" tests/real tests/contract tests/pure || status=$$?; \
	$(BIN)/python -m pytest -m alone $$(grep -rl --include="*.py" "mark\.alone" tests) || status=$$?; \
	exit $$status

# Begun in the background, during the checks of style and types: a test that needs one waits for it.
environments: $(VENV)/.test
	@$(BIN)/python -m tests.environments >/dev/null 2>&1 &

# The browser tests skip without Chromium on a laptop, and fail without it where CI is set.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium ..."; $(QUIETLY) sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core fonts-liberation"; \
	else echo "no Chromium here: the browser tests will be skipped"; fi

lint: $(VENV)/.test labextension/node_modules/.package-lock.json
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent lint

types: $(VENV)/.test labextension/node_modules/.package-lock.json
	$(BIN)/mypy
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent types
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent test

pure: $(VENV)/.pure
	$(BIN)/python -m pytest tests/pure

contract: $(VENV)/.pure
	$(BIN)/python -m pytest tests/contract

docs: $(VENV)/.docs site
	$(BIN)/python -m pytest tests/pure/test_docs.py tests/pure/test_doc_pages.py \
	    tests/pure/test_reference_pages.py tests/pure/test_azureml_docs.py tests/pure/test_map.py

# -E: a page with a warning is read again, so that a second try warns as well.
site: $(VENV)/.docs
	$(BIN)/python -m sphinx -qEW --keep-going -d docs/_build/doctrees docs docs/_build/html

coverage: $(VENV)/.pure
	$(BIN)/python -m pytest tests/pure tests/contract --cov --cov-report=term:skip-covered --cov-report=xml

# Its own environment, so that .venv keeps the newest versions. The front end is built by now.
oldest: $(VENV)/.pure
	$(BIN)/uv venv --quiet --clear --python $(OLDEST_PYTHON) $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable ".[pure]"
	$(OLDEST)/bin/python -m pytest tests/pure tests/contract

# The wheel is built from the sdist, as an installer without a wheel would build it.
dist: $(VENV)/.pure
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/python -m tests.check_dist dist

hooks: $(VENV)/.test labextension/node_modules/.package-lock.json
	$(BIN)/pre-commit install

storm: $(VENV)/.test
	STORM_KILLS=60 $(BIN)/python -m pytest tests/real/test_resume.py tests/real/test_dask_storm.py \
		tests/real/test_endpoints.py -k storm

bench: $(VENV)/.test tests/azurite/node_modules/.package-lock.json
	$(BIN)/python -m benchmarks

peers: $(VENV)/.bench
	$(BIN)/python -m benchmarks peers

clean:
	rm -rf $(VENV) $(OLDEST) dist coverage.xml .coverage tests/azurite/node_modules tests/front_ends/node_modules \
	    labextension/node_modules labextension/lib docs/_build parallelrun_jupyter/labextension \
	    parallelrun_jupyter/views/static parallelrun-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
