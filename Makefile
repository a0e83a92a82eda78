# Every target sets up what it needs in .venv; only Python 3.11 or later and make have to be there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed-requirements-dev
PORT ?= 9000
# An OCI image layout to use in the place of the sample image, and the repository to serve it as.
LAYOUT ?=
REPOSITORY ?=
IMAGE := $(if $(LAYOUT),--layout '$(LAYOUT)') $(if $(REPOSITORY),--repository '$(REPOSITORY)')
CHECKED := lambda_src local tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo serve test lint format bench lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 9

demo: $(INSTALLED)  ## Resolve, download and verify every layer of a sample image (LAYOUT=DIR REPOSITORY=NAME)
	@$(BIN)/python -m local demo $(IMAGE)

serve: $(INSTALLED)  ## Run the function URL and the local AWS behind it (PORT=9000 LAYOUT=DIR REPOSITORY=NAME)
	@$(BIN)/python -m local serve --port $(PORT) $(IMAGE)

test: $(INSTALLED)  ## Run everything that has to pass
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(INSTALLED)  ## ruff and mypy --strict
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy $(CHECKED)

format: $(INSTALLED)  ## Put the code into the form that lint asks for
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

bench: $(INSTALLED)  ## Measure what a batch saves over single requests
	@$(BIN)/python -m benchmarks.batch

lock: $(INSTALLED)  ## Write the requirements files anew from their .in files, within the versions these allow
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' \
		lambda_src/requirements.in --output-file lambda_src/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' \
		--constraints lambda_src/requirements.txt requirements-dev.in --output-file requirements-dev.txt

clean:  ## Remove what the other targets made
	rm -rf $(VENV) build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, and $(PYTHON) is older or missing: set PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@touch $@
