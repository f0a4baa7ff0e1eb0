# The commands of the project. `make run RECIPE=recipes/x.yaml` works in runs/x, a clone of its own with the shared cache;
# `make run SET=evaluate.locked_seed=2` in a clone whose params.yaml has that value.
PYTHON ?= python3
RECIPE ?= params.yaml
SET ?=
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
ifeq ($(RECIPE)$(SET),params.yaml)
	$(BIN)/python -m tasks.check
	$(BIN)/python -m flows.align
else
	folder=$$($(BIN)/python -m flows.clone $(RECIPE) $(SET)) && cd "$$folder" && echo "in $$folder" && \
	$(BIN)/python -m tasks.check && $(BIN)/python -m flows.align
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
	$(BIN)/python -m concord.sandbox.base

clean:
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache .hypothesis work
