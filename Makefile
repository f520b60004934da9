# Few targets; `mlops --help` lists the other commands. On a new machine: make up
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
LOCKED := training/requirements.in model_server/requirements.in images/mlflow/requirements.in images/envoy/requirements.in
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help:  ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: pyproject.toml requirements.lock lab/bootstrap.sh
	@lab/bootstrap.sh
	@touch $@

up: .venv/.ready  ## set up this machine: cluster, platform, training, a served prediction
	@lab up

down: .venv/.ready  ## stop the lab; its state stays (`lab down --wipe` deletes it)
	@lab down

test: .venv/.ready  ## unit and engine tests (no cluster)
	@lab tools --only engine
	@pytest tests --ignore tests/e2e -m "not long" -n 3 --dist loadfile --no-loadscope-reorder  # the engine runs of a module start first, and once

e2e: .venv/.ready  ## the long tests, then tests on the lab's cluster, whose platform they replace
	@lab tools --only prometheus
	@pytest tests --ignore tests/e2e -m long -n 2 --dist loadfile
	@lab up --cluster-only
	@pytest tests/e2e

e2e-all: .venv/.ready  ## all tests, also those too long for CI; needs a committed checkout, adds a row to docs/benchmarks.md
	@lab tools
	@python -m bench.end_to_end

# Newest version in the range of pyproject.toml; the lock has the oldest.
NEWEST_SDK := 4.34.2
NEWEST := .venv/newest-sdk/pulumi_kubernetes-$(NEWEST_SDK).dist-info

$(NEWEST): | .venv/.ready
	@uv pip install --quiet --no-config --no-deps --target $(@D) pulumi-kubernetes==$(NEWEST_SDK)

check: .venv/.ready $(NEWEST)  ## format, lint, types (against both ends of the SDK's range), workflows, generated files, links of the docs
	@ruff format --check .
	@ruff check .
	@pyright
	@pyright --project typings/newest_sdk.json
	@"$$(go -C .ci/actionlint tool -n actionlint)"
	@zizmor --offline --persona auditor --no-progress --quiet --strict-collection .github
	@python -m infra.config.schema --check
	@python -m training.parameter_schema --check
	@python -m cli.reference --check
	@$(BUILD_DOCS)

# Without the variable, the theme prints a notice about MkDocs 2.0, which the lock keeps out.
BUILD_DOCS = NO_MKDOCS_2_WARNING=1 mkdocs build --strict

docs: .venv/.ready  ## build the docs site into site/; a broken link is an error
	@$(BUILD_DOCS)
	@echo "the docs site is built: open site/index.html"

schema: .venv/.ready  ## write the JSON Schemas, and the reference pages of stack file and command line
	@python -m infra.config.schema
	@python -m training.parameter_schema
	@python -m cli.reference

bench: .venv/.ready  ## time of a preview, against a program without components
	@lab tools --only engine --only kubernetes-plugin
	@python -m bench.preview

bench-serving: .venv/.ready  ## the model server against others, on a machine with no other load: [QUICK=1]
	@python -m bench.serving $(if $(QUICK),--quick)

# What an image installs: the versions of requirements.lock, on Linux and its Python; the same on x86-64 and arm64.
LOCK_IMAGE := --python-version 3.11 --python-platform x86_64-manylinux_2_36 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

lock: .venv/.ready  ## write requirements.lock and the list of each image again (hashes, no registry address)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  --all-extras pyproject.toml $(LOCKED) -o requirements.lock
	@uv pip compile $(LOCK_IMAGE) images/uv.in -o images/uv.lock
	@for list in $(LOCKED); do \
	  excluded=$$(dirname $$list)/excluded.in; \
	  uv pip compile $(LOCK_IMAGE) --constraint requirements.lock $$([ ! -f $$excluded ] || echo --excludes $$excluded) \
	    $$list -o $${list%.in}.lock; \
	done
	@uv pip compile $(LOCK_IMAGE) --constraint requirements.lock images/training-gpu/requirements.in -o images/training-gpu/requirements.lock

# Targets of former releases, kept for one more release; each calls the command that replaces it. MAKE_GIVEN has the names
# of the variables on make's command line. Their values come from the environment, so the shell does not read them as code.
FORMER = status train follow runs predict client validate promote rollback reproduce models
$(FORMER): export MAKE_GIVEN = $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
$(FORMER): .venv/.ready
	@python -m cli.former $@

.PHONY: help up down $(FORMER) test e2e e2e-all check docs schema bench bench-serving lock
