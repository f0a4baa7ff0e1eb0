# The commands of the project. `make run RECIPE=recipes/x.yaml` works in runs/x, a clone of its own with the shared cache.
PYTHON ?= python3
RECIPE ?= params.yaml
BIN := $(CURDIR)/.venv/bin
INSTALLED := .venv/.installed

.PHONY: install run test check ui base clean
.DEFAULT_GOAL := run

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

run: $(INSTALLED)
ifeq ($(RECIPE),params.yaml)
	$(BIN)/python -m flows.align
else
	$(BIN)/python -m flows.clone $(RECIPE)
	cd runs/$(basename $(notdir $(RECIPE))) && $(BIN)/python -m flows.align
endif

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: $(INSTALLED)
	@echo "http://127.0.0.1:4200 shows every run that is started while this server is up; Ctrl-C ends it"
	$(BIN)/prefect server start

base: $(INSTALLED)
	$(BIN)/python -m tasks.sandbox.base

clean:
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache .hypothesis work
