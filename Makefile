# The commands of this project; `make help` lists them.
# The first python3 on the PATH, or a much faster one after it; asked for when .venv is made.
PYTHON ?= $(shell python3 benchmarks/interpreter.py || echo python3)
# Half of a test's time is waiting, so this is twice what a small machine has of cores.
WORKERS ?= 4
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(sort $(wildcard plugins/*/))
EDITABLE := -e . $(PLUGINS:%=-e %)
TESTING := --numprocesses=$(WORKERS) --dist=worksteal -q
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

.PHONY: help install serve test check bench lock docs soak

help: ## what each command does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(BIN)/python:
	@python=$(PYTHON); \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ezkielyna needs Python 3.11 or later; set PYTHON=/path/to/python3.11")' \
	&& $$python -m venv $(VENV)

$(VENV)/.installed: requirements.txt pyproject.toml $(wildcard plugins/*/pyproject.toml) | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

$(VENV)/.installed-test: requirements-test.txt $(VENV)/.installed | $(BIN)/python
	$(PIP) install --require-hashes -r requirements-test.txt
	@touch $@

install: $(VENV)/.installed ## make .venv with the core and every plugin

serve: $(VENV)/.installed ## run the gateway with simulated models; PORT=9000 moves it
	@$(BIN)/ezkielyna serve --demo --port $(PORT)

test: $(VENV)/.installed-test ## run the whole suite; WORKERS=1 in one process
	$(BIN)/python -m pytest $(TESTING)

check: $(VENV)/.installed-test ## format, lint, strict types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(TESTING)

SOAKING := EZKIELYNA_SOAK=1 $(BIN)/python -m pytest --async-test-timeout=3600

soak: $(VENV)/.installed-test ## the long runs, for some hours: crash points, kills, ten thousand examples, load
	$(SOAKING) $(TESTING) --deselect tests/faults/test_soak.py tests/ledger tests/faults \
	  tests/defaults tests/gateway/test_any_request.py plugins
	$(SOAKING) tests/faults/test_soak.py

bench: $(VENV)/.installed-test ## the benchmark table; PEERS=1 measures other gateways, too
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed-test ## write generated tables anew
	$(BIN)/python -m benchmarks.standing

COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet \
	--no-header --no-annotate --prerelease=if-necessary-or-explicit $(UPGRADE)

lock: $(BIN)/python ## write the locked requirements anew; UPGRADE=--upgrade takes newer versions
	$(PIP) install uv
	$(COMPILE) --extra embedded --extra build --extra plugins --output-file requirements.txt
	$(COMPILE) --extra test --constraint requirements.txt --output-file requirements-test.txt
