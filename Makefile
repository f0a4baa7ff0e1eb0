# The commands of the project. `make run` runs params.yaml here. `make run RECIPE=recipes/x.yaml`
# runs another recipe in a separate clone, runs/x, which shares the cache. `make run
# SET=evaluate.locked_seed=2` runs params.yaml with that value in a clone.
PYTHON ?= python3
RECIPE ?= params.yaml
SET ?=
STUDY ?= recipes/studies/dev.yaml
BIN := .venv/bin
OLDEST := import sys; sys.version_info >= (3, 11) or sys.exit("Concord needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0] + "; name another one, as in: make PYTHON=python3.12")
INSTALLED := .venv/.installed

.PHONY: install run demo study test torture check docs ui base clean
.DEFAULT_GOAL := run

install: $(INSTALLED) ## installs everything into .venv, as pinned in constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(OLDEST)'
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

run: $(INSTALLED) ## runs the whole chain; RECIPE=<file> or SET=<key>=<value> runs in a clone
	$(BIN)/python -m flows.cli run "$(RECIPE)" $(SET)

demo: $(INSTALLED) ## runs the whole chain on a very small world, in about five minutes
	$(BIN)/python -m flows.cli demo

study: $(INSTALLED) ## compares policies at equal KL after a run; STUDY=<file>
	$(BIN)/python -m flows.cli study "$(STUDY)"

test: $(INSTALLED) ## runs the test suite
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

torture: $(INSTALLED) ## kills, cuts and damages on purpose, in at most 40 minutes
	$(BIN)/python -m benchmarks.torture

check: $(INSTALLED) ## checks style and types: ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED) ## generates docs/reference and builds the site into site/
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

ui: $(INSTALLED) ## starts a Prefect server at http://127.0.0.1:4200, which shows the runs
	@echo "http://127.0.0.1:4200 shows all runs started while this server is running; stop it with Ctrl-C"
	$(BIN)/prefect server start

base: $(INSTALLED) ## trains a base model for the sandbox from scratch, in about three quarters of an hour
	$(BIN)/python -m concord.sandbox.base

clean: ## removes .venv, caches and unfinished checkpoints
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache .hypothesis work site
