# The commands of the course; `make` alone lists them.
#   PYTHON=/path/to/python3.12   the interpreter to build .venv from (default: the first fit one on the path)
#   NB=02                        for `tutorial`, `notebooks`, `student` and `solutions`: this notebook only
#   DIR=build/student            for `lab`: the folder to open (default: notebooks)
#   FLAGS=--no-browser           for `lab` and `speedrun`: options of JupyterLab, of experiments/speedrun.py
#   REPO=owner/name              for `badges`: where the repository lives now

PYTHON ?=
NB ?=
DIR := notebooks
FLAGS :=
REPO ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BOOK_READY := $(VENV)/.book-ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# $(call step,title,commands): one line with seconds; the output is kept, and shown only on failure.
define step
@mkdir -p build; start=$$(date +%s); printf '%-44s' '$(1)'; \
if { $(2); } >build/step.log 2>&1; then printf 'ok %6d s\n' $$(($$(date +%s) - start)); \
else printf 'FAILED after %d s\n' $$(($$(date +%s) - start)); tail -n 60 build/step.log; exit 1; fi
endef

.DEFAULT_GOAL := help
.PHONY: help install tutorial test lab notebooks student solutions book speedrun badges lint

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

install: $(READY)  ## install into .venv what the notebooks need, and run none

tutorial: $(READY)  ## run every notebook in order with the quick profile, into build/tutorial/
	@$(BIN)/python notebooks/run.py tutorial $(NB)

# Each notebook is run once, by tests/notebooks/test_notebooks.py, and 00 by nbval itself, too.
test: $(READY) $(BOOK_READY)  ## lint, unit tests, every notebook alone, its outputs compared with the saved ones
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  --nbval --nbval-current-env --nbval-cell-timeout 900 --continue-on-collection-errors \
	  tests notebooks/00_overview.ipynb

lab: $(READY)  ## open JupyterLab on the notebooks
	@$(BIN)/jupyter lab $(DIR) $(FLAGS)

notebooks: $(READY)  ## execute the notebooks in place, checked and normalized, ready to commit
	@$(BIN)/python notebooks/run.py save $(NB)

student: $(READY)  ## write the notebooks with holes where the exercises are, into build/student/
	@$(BIN)/python notebooks/exercises.py student $(NB)

solutions: $(READY)  ## write the solved notebooks, into build/solutions/
	@$(BIN)/python notebooks/exercises.py solutions $(NB)

book: $(BOOK_READY)  ## build the web site of the course from its saved outputs, into build/book/html/
	$(call step,building the book,$(BIN)/python docs/book/book.py)
	@grep -h "^the swap lab was not built" build/step.log || true
	@echo "open $(CURDIR)/build/book/html/index.html"

speedrun: $(READY)  ## seconds of training until the swaps are so good; FLAGS=--help says how to set a record
	@$(BIN)/python experiments/speedrun.py $(FLAGS)

badges: $(READY)  ## write the repository's new address, REPO=owner/name, into every badge and link
	@test -n "$(REPO)" || { echo "say where the repository lives: make badges REPO=owner/name"; exit 1; }
	@$(BIN)/python notebooks/run.py links $(REPO)

lint: $(READY)  ## check style and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --cache-dir build/import-linter

# A link to an interpreter that has gone counts as missing, so .venv mends itself.
$(BIN)/python:
	@names="$(PYTHON)"; test -n "$$names" || names="python3 python3.13 python3.12 python3.11 python"; \
	for newest in 13 99; do for name in $$names; do \
	  if "$$name" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $$newest))" 2>/dev/null; \
	  then rm -f $(BIN)/python*; printf '%-44s' "creating $(VENV) with $$name"; \
	    "$$name" -m venv $(VENV) || { rm -f $(BIN)/python*; \
	      echo "Python's venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }; \
	    "$(BIN)/python" -V; exit 0; fi; done; done; \
	echo "Python 3.11 or newer is needed to create $(VENV). Tried:"; \
	for name in $$names; do echo "  $$name: $$("$$name" -V 2>/dev/null || echo none)"; done; \
	echo "Install one, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1

# Build isolation would fetch setuptools a second time; the pinned one is there already.
# Matplotlib's font cache is built here, so that no notebook spends its time and a warning on it.
$(READY): requirements.txt pyproject.toml | $(BIN)/python
	$(call step,installing requirements.txt (some GB),$(BIN)/python -m pip install -r requirements.txt)
	$(call step,installing smoothswap_lib,$(BIN)/python -m pip install -e . --no-deps --no-build-isolation)
	$(call step,preparing the fonts,$(BIN)/python -c "import matplotlib.font_manager")
	@touch $@

# Into the same environment: what the book adds changes no pin of requirements.txt. The swap lab's runtime comes from
# npm; without it the book is built, and tested, without the lab.
$(BOOK_READY): requirements-book.txt | $(READY)
	$(call step,installing requirements-book.txt,$(BIN)/python -m pip install -c requirements.txt -r $<)
	@$(BIN)/python docs/book/web_runtime.py
	@touch $@
