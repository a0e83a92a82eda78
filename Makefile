# Each target installs what it needs in .venv; only Python 3.11 or later and make are prerequisites.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed-requirements-dev
INSTALLED_CDK := $(VENV)/installed-requirements
CDK_CLI := node_modules/.bin/cdk
# The CLI runs Python and Node from the virtual environment.
# It shouldn't advertise newer versions, which can't read the pinned library's output.
CDK := CDK_DISABLE_VERSION_CHECK=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(CDK_CLI)
# Tools whose dependencies conflict with ours, each in its own virtual environment.
DEPLOYED := $(VENV)/deployed-python
TOOLS := $(addprefix $(VENV)/tools/,ministack checkov cfn-lint syft)
AUDIT := $(VENV)/tools/audit
# Registry clients that Go builds. Without Go, their tests are skipped.
GO := $(shell command -v go)
GO_CLIENTS := $(if $(GO),$(VENV)/tools/go-clients)
# Its package on PyPI downloads a program from elsewhere, without a hash.
ACTIONLINT := $(if $(GO),$(VENV)/tools/actionlint)
export SEED INVOCATIONS
# Without bytecode, each of the many processes would compile its libraries again.
unexport PYTHONDONTWRITEBYTECODE
# npm would leave compiled code in the temporary folder.
export NODE_DISABLE_COMPILE_CACHE := 1
PORT ?= 9000
# How many processes run the tests; many tests wait for other programs. Files run in the order of their folders: in
# pytest-xdist's default order, by number of tests, the deployments would run last, and alone.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
# The function's modules for `make mutants` to change.
MODULES ?= errors models download_urls resolver ecr
# An OCI image layout to use instead of the sample image, and the repository to serve it as.
LAYOUT ?=
REPOSITORY ?=
# Set it to anything to put CloudFront in front, which needs Node.
EDGE ?=
# With EDGE: the scope of its pull token, public repositories, other accounts that it serves, and a file with trust rules,
# JSON as in cdk.json.
SCOPE ?=
REGISTRIES ?=
TRUST_RULES ?=
EDGE_OPTIONS := $(if $(SCOPE),--token '$(SCOPE)') $(if $(PUBLIC),--public '$(PUBLIC)') $(if $(REGISTRIES),--registries '$(REGISTRIES)') $(if $(TRUST_RULES),--trust-rules '$(TRUST_RULES)')
IMAGE := $(if $(LAYOUT),--layout '$(LAYOUT)') $(if $(REPOSITORY),--repository '$(REPOSITORY)')
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'
CHECKED := lambda_src client/ecr_layers local infra app.py tests benchmarks scripts examples
PAGES := README.md CHANGELOG.md CONTRIBUTING.md LICENSE SECURITY.md THIRD_PARTY.md client/README.md docs examples

.DEFAULT_GOAL := help
.PHONY: help demo serve check unit client test test-deployed-python lint format mutants soak bootstrap synth diff deploy smoke proxy destroy python bench bench-client costs lock openapi docs third-party sbom wheel audit clean

help:  ## List the targets
	@sed -nE 's/^##@ (.*)/\n\1:/p; s/^([a-z-]+):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 24

##@ Try it

demo: $(INSTALLED)  ## Resolve, download and verify every layer of a sample image (LAYOUT=DIR REPOSITORY=NAME)
	@$(BIN)/python -m local demo $(IMAGE)

serve: $(INSTALLED) $(if $(EDGE),$(INSTALLED_CDK))  ## Run the function URL and the local AWS behind it (PORT=9000 LAYOUT=DIR REPOSITORY=NAME EDGE=1 SCOPE=NAMES PUBLIC=NAMES REGISTRIES=IDS TRUST_RULES=FILE)
	@$(BIN)/python -m local serve --port $(PORT) $(IMAGE) $(if $(EDGE),--edge) $(EDGE_OPTIONS)

##@ Change it

check: lint unit  ## Lint and test the function: run it before each commit

unit: $(INSTALLED)  ## Test the function alone: in seconds, without a network
	$(BIN)/python -m pytest -q --numprocesses 2 tests/unit --cov --cov-report=term

client: $(INSTALLED)  ## Test the client alone, with at least 90 % of its branches
	$(BIN)/python -m pytest -q --numprocesses $(WORKERS) tests/client --cov --cov-config=client/pyproject.toml --cov-report=term

test: $(INSTALLED) $(INSTALLED_CDK) $(CDK_CLI) $(TOOLS) $(GO_CLIENTS)  ## Run all tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore tests/unit
	@$(MAKE) --no-print-directory test-deployed-python

# All other tests run the function with the virtual environment's Python, which may be another one.
test-deployed-python: $(INSTALLED)  ## Test the function alone with its deployed Python, if installed
	@python=$$($(BIN)/python -c 'from infra.package import LAMBDA, find_interpreter as find; print(find(LAMBDA.python_version) or "")') && \
	if [ -z "$$python" ]; then echo "'make python' installs the deployed function's Python, which these tests would use."; exec $(MAKE) unit; fi && \
	$(BIN)/uv venv --quiet --clear --python "$$python" $(DEPLOYED) && \
	$(BIN)/uv pip install --quiet --python $(DEPLOYED) --no-deps --require-hashes --requirement requirements-dev.txt && \
	$(BIN)/uv pip install --quiet --python $(DEPLOYED) --no-deps --editable client && \
	$(DEPLOYED)/bin/python -m pytest -q --numprocesses 2 tests/unit --cov --cov-report=term

lint: $(INSTALLED) $(INSTALLED_CDK) $(ACTIONLINT)  ## Check style, imports, types, wording and workflows
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	PYTHONPATH=lambda_src:client:. $(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy $(CHECKED)
	$(BIN)/python -m scripts.words
	$(if $(ACTIONLINT),$(ACTIONLINT)/actionlint,@echo "Skipped actionlint: it needs Go.")

format: $(INSTALLED)  ## Format the code and apply ruff's fixes
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

# It starts afresh, because mutmut would keep copies of deleted modules and tests.
mutants: $(INSTALLED)  ## Mutate the function and list the mutants that its unit tests miss (MODULES="resolver errors")
	@rm -rf build/mutants && mkdir -p build/mutants
	@cd build/mutants && ln -s $(addprefix ../../,lambda_src/layer_resolver tests docs local scripts pyproject.toml) . && \
		../../$(BIN)/mutmut run $(MODULES:%='layer_resolver.%.*') && \
		../../$(BIN)/mutmut results | { grep -v ': not checked$$' || true; }

soak: $(INSTALLED) $(INSTALLED_CDK) $(CDK_CLI)  ## Send many more faults and requests than `make test` does (SEED=1 INVOCATIONS=10000)
	@INVOCATIONS=$(or $(INVOCATIONS),10000) $(BIN)/python -m pytest -q tests/faults/test_faults.py
	@AWS_REGION=us-east-1 PYTHONPATH=lambda_src:. PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.contract.edge_model --seed $(or $(SEED),1)

##@ Deploy it

bootstrap: $(INSTALLED_CDK) $(CDK_CLI)  ## Prepare the AWS account and region of your credentials for deployments, once
	$(CDK) bootstrap $(ARGS)

synth: $(INSTALLED_CDK) $(CDK_CLI)  ## Write the CloudFormation template to cdk.out (ARGS='-c key=value')
	$(CDK) synth --quiet $(ARGS)

diff: $(INSTALLED_CDK) $(CDK_CLI)  ## Show what a deployment would change (ARGS='-c key=value')
	$(CDK) diff $(ARGS)

deploy: $(INSTALLED) $(INSTALLED_CDK) $(CDK_CLI)  ## Deploy to the AWS account and region of your credentials, with the settings in cdk.json
	$(CDK) deploy $(ARGS)

smoke: $(INSTALLED)  ## Check a deployed service from outside (URL=https://… REPOSITORY=NAME DIGEST=sha256:… TAG=NAME PUBLIC=1 TOKEN_FILE=FILE)
	@$(BIN)/ecr-layers smoke --url '$(URL)' $(if $(REGION),--region '$(REGION)') $(if $(REPOSITORY),--repository '$(REPOSITORY)') \
		$(if $(DIGEST),--digest '$(DIGEST)') $(if $(TAG),--image '$(TAG)') $(if $(PUBLIC),--public) $(if $(TOKEN_FILE),--token-file '$(TOKEN_FILE)')

proxy: $(INSTALLED)  ## Sign requests to a deployed service for clients that can't (URL=https://… PORT=9001)
	@$(BIN)/ecr-layers proxy --url '$(URL)' $(if $(REGION),--region '$(REGION)') --port $(if $(filter command line,$(origin PORT)),$(PORT),9001)

destroy: $(INSTALLED_CDK) $(CDK_CLI)  ## Remove the deployment (ARGS='-c stackName=NAME')
	$(CDK) destroy $(ARGS)

python: $(INSTALLED)  ## Install the Python of the deployed function, which writes the package's bytecode
	$(BIN)/uv python install 3.13

##@ Measure it

bench: $(INSTALLED) $(INSTALLED_CDK)  ## Measure the function against bare boto3 and Powertools' tutorial, then the client
	@$(BIN)/python -m benchmarks
	@$(MAKE) --no-print-directory bench-client

bench-client: $(INSTALLED) $(GO_CLIENTS)  ## Measure ecr-layers fetch against curl, skopeo, crane and aria2c
	@$(BIN)/python -m benchmarks.client

costs: $(INSTALLED)  ## Compute the documents' tables of costs and loads
	@$(BIN)/python -m benchmarks.costs

##@ Write what is generated

lock: $(INSTALLED)  ## Update the requirements files, within the versions that their .in files allow
	$(LOCK) lambda_src/layer_resolver.in --output-file lambda_src/layer_resolver.txt
	$(LOCK) --constraints lambda_src/layer_resolver.txt lambda_src/token_exchange.in --output-file lambda_src/token_exchange.txt
	$(LOCK) --constraints lambda_src/layer_resolver.txt --constraints lambda_src/token_exchange.txt requirements-dev.in --output-file requirements-dev.txt
	$(LOCK) --constraints requirements-dev.txt requirements.in --output-file requirements.txt
	for tool in $(notdir $(TOOLS) $(AUDIT)); do $(LOCK) tests/tools/$$tool.in --output-file tests/tools/$$tool.txt || exit 1; done

openapi: $(INSTALLED)  ## Write openapi.json, which the function serves, from its models and errors
	@PYTHONPATH=lambda_src $(BIN)/python -m scripts.openapi

docs: $(INSTALLED) $(CDK_CLI)  ## Build the documents as a searchable web site in build/site
	@rm -rf build/pages build/site && mkdir -p build/pages
	@tar cf - $(PAGES) | tar xf - -C build/pages
	@cp node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js build/pages
	@$(BIN)/zensical build --clean --strict

third-party: $(INSTALLED)  ## Write THIRD_PARTY.md: the libraries in the deployment packages and their licences
	@$(BIN)/python -m scripts.third_party

sbom: $(INSTALLED)  ## Write the deployment packages' bills of materials (CycloneDX)
	@$(BIN)/python -m scripts.sbom

wheel: $(INSTALLED) $(CDK_CLI)  ## Build the wheels of the construct, ecr-layer-resolver, and of the client, ecr-layers, into build/
	@$(BIN)/python -m scripts.wheel
	@$(BIN)/uv build --quiet --wheel --out-dir build client && ls build/*.whl

# Tests and benchmarks do on purpose what bandit warns about. Ruff checks low severity, with exceptions by line.
audit: $(AUDIT)  ## Check all locks for known vulnerabilities, and the sources for unsafe code (SERVICE=osv instead of PyPI)
	@status=0; \
	$(AUDIT)/bin/bandit --quiet --recursive --severity-level medium app.py client infra lambda_src local scripts || status=1; \
	for lock in requirements*.txt lambda_src/*.txt tests/tools/*.txt; do \
		echo "$$lock:"; \
		$(AUDIT)/bin/pip-audit --strict --vulnerability-service $(or $(SERVICE),pypi) --disable-pip --require-hashes \
			--progress-spinner off --requirement $$lock || status=1; \
	done; exit $$status

clean:  ## Remove everything that the other targets made
	rm -rf $(VENV) build cdk.out node_modules .cache .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11, or missing: set PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# uv, in the version and with the hashes that the lock has, installs the rest in a fraction of pip's time.
$(BIN)/uv: requirements-dev.txt | $(BIN)/python
	sed -n '/^uv==/,/[^\]$$/p' requirements-dev.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $(VENV)/uv.txt
	@touch $@

$(INSTALLED): requirements-dev.txt client/pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --requirement requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable client
	@touch $@

$(INSTALLED_CDK): requirements.txt | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --requirement requirements.txt
	@touch $@

$(CDK_CLI): package-lock.json | $(INSTALLED_CDK)
	PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/tools/%: tests/tools/%.txt | $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $@
	$(BIN)/uv pip install --quiet --python $@ --require-hashes --requirement $<
	@touch $@

$(VENV)/tools/go-clients: tests/tools/go/go.mod tests/tools/go/go.sum | $(INSTALLED)
	cd tests/tools/go && GOBIN='$(CURDIR)/$@' $(GO) install tool || test -z "$$CI"
	@mkdir -p $@ && touch $@

$(VENV)/tools/actionlint: | $(INSTALLED)
	GOBIN='$(CURDIR)/$@' $(GO) install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
