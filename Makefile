# Everything needs only make and Python 3.11 or later: the first target that
# needs it makes .venv and installs the project and its tools there.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test run-tests test-under-load lint audit fuzz format proto proto-check async docs release floors lock clean

help:
	@echo "make demo [IMAGES=folder]   index images, serve them, query, draw the answers into demo/"
	@echo "make test                   every check and test that CI runs"
	@echo "make test-under-load        the tests ten times in a row beside busy processes; TIMES=n, BUSY=n, TESTS=paths"
	@echo "make lint | format          the checks alone | mend what can be mended by itself"
	@echo "make audit                  look for known weaknesses of the pinned releases; says what was not checked"
	@echo "make fuzz [SECONDS_EACH=n]  fuzz manifests, parts, requests, filters, experiments and images"
	@echo "make proto | async          regenerate the stubs from proto/ | the asyncio client from the synchronous one"
	@echo "make docs                   build the documentation into site/; a broken link fails"
	@echo "make release                build the distributions, check them, and try them in fresh environments"
	@echo "make floors                 the client's tests with the oldest releases that are allowed"
	@echo "make lock                   choose the newest releases anew and pin them in requirements.txt"
	@echo "make clean                  remove everything that make made"

setup: $(READY)

$(READY): pyproject.toml requirements.txt scripts/setup.py
	@$(PYTHON) scripts/setup.py $(VENV)
	@touch $@

# PHOTOS is the name that 0.1.0 had.
SOURCE = $(or $(IMAGES),$(PHOTOS))
demo: $(READY)
	@$(BIN)/python scripts/demo.py $(if $(SOURCE),"$(SOURCE)",)

# The checks run beside the tests: each leaves a processor idle now and then.
test: $(READY)
	@$(MAKE) --no-print-directory --jobs 2 lint run-tests

# Three at a time, on two processors too: many tests wait for a process to start or for a limit to pass.
# Compiled modules are kept, whatever the environment says: the tests start hundreds of interpreters.
run-tests: $(READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadgroup --durations 10

TIMES ?= 10
BUSY ?= 3
TESTS ?= tests
test-under-load: $(READY)
	$(BIN)/python scripts/under_load.py --times $(TIMES) --busy $(BUSY) -- \
	    $(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

lint: $(READY) proto-check
	$(BIN)/python scripts/generate_async.py --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=client $(BIN)/mypy --config-file= --strict --cache-dir=.mypy_cache/users tests/client/typed_program.py
	$(BIN)/python scripts/check_types.py
	$(BIN)/python scripts/check_language.py
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/released.binpb
	$(BIN)/bandit -q -r client indexer server

# Asks for every pinned package by name, so it is no part of lint.
audit: $(READY)
	$(BIN)/python scripts/check_dependencies.py

SECONDS_EACH ?= 300
fuzz: $(READY)
	@for target in manifest part request filter experiments image; do \
	    OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $$target --seconds $(SECONDS_EACH) || exit 1; done

format: $(READY)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

proto:
	$(PYTHON) proto/generate.py

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Builds and checks; uploads nothing.
release: $(READY)
	$(BIN)/python scripts/release.py dist

# The client's tests with the oldest releases that pyproject.toml allows.
floors: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python scripts/floors.py .cache/floors

# With a release: from then on, `make lint` refuses what would break its clients.
proto-released: $(READY)
	$(BIN)/buf build proto --exclude-source-info -o proto/released.binpb

proto-check:
	$(PYTHON) proto/generate.py --check

# The asyncio client's methods, of the synchronous client's.
async: $(READY)
	$(BIN)/python scripts/generate_async.py

# No index addresses: the lock must work behind any mirror.
lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements.txt

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache demo site dist
