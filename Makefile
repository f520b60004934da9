# Few targets; `lab --help` has the rest. On a new machine: make up
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
LOCKED := training/requirements.in serving/requirements.in images/mlflow/requirements.in
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: pyproject.toml requirements.lock lab/bootstrap.sh
	@lab/bootstrap.sh
	@touch $@

up: .venv/.ready  ## a fresh machine to a served prediction
	@lab up

down: .venv/.ready  ## stop the lab; its state stays (lab down --wipe drops it)
	@lab down

status: .venv/.ready  ## what runs, where to reach it
	@lab status

# The lab's cluster, unless make is told the context of another, or KUBECONFIG names one.
IN_THE_LAB = $(if $(CONTEXT)$(KUBECONFIG),,eval "$$(lab env)";)

train: .venv/.ready  ## run a declared job now and validate what it registers: NAME=churn [N_ESTIMATORS=300 ...] [VALIDATE=0] [DRY_RUN=1] [CONTEXT=...]
	@$(IN_THE_LAB) runs make-train

follow: .venv/.ready  ## a run that goes on, from the start of its log: RUN=churn-x7k2p [CONTEXT=...]
	@$(IN_THE_LAB) runs follow "$$RUN" $(if $(CONTEXT),--context "$$CONTEXT")

runs: .venv/.ready  ## the last training runs: [NAME=churn] [LAST=20] [CONTEXT=...]
	@$(IN_THE_LAB) runs list $(if $(NAME),--name "$$NAME") $(if $(LAST),--last "$$LAST") $(if $(CONTEXT),--context "$$CONTEXT")

# Values reach a recipe as the shell's own variables: text of a user is no code of a shell.
predict: .venv/.ready  ## ask an endpoint about a file: MODEL=churn-predictor FILE=rows.csv [OUT=predictions.csv] [KEEP=id,...] [URL=...] [CONTEXT=...]
	@$(if $(URL),,$(IN_THE_LAB)) client predict "$$MODEL" "$$FILE" $(if $(OUT),"$$OUT") $(if $(KEEP),--keep "$$KEEP") \
	  $(if $(URL),--url "$$URL") $(if $(CONTEXT),--context "$$CONTEXT")

client: .venv/.ready  ## a typed Python client of what is served now, to stdout: MODEL=churn-predictor [URL=...] [CONTEXT=...]
	@$(if $(URL),,$(IN_THE_LAB)) client generate "$$MODEL" $(if $(URL),--url "$$URL") $(if $(CONTEXT),--context "$$CONTEXT")

# Recipes read what stands on make's command line as variables of the shell: as text of a script, a quote would be code.
# promote, rollback, reproduce and models ask MLflow alone; the lab leads this port to its own.
export MLFLOW_TRACKING_URI ?= http://localhost:5000

validate: .venv/.ready  ## may a version go forward: MODEL=churn-predictor VERSION=2 [CONTEXT=...]
	@$(IN_THE_LAB) runs validate "$$MODEL" "$$VERSION" $(if $(CONTEXT),--context "$$CONTEXT")

promote: .venv/.ready  ## MODEL=churn-predictor VERSION=2 STAGE=staging|production|archived [WHY=...]
	@python -m training.promote $(if $(MODEL),"$$MODEL") $(if $(VERSION),"$$VERSION") $(if $(STAGE),"$$STAGE") $(if $(WHY),--why "$$WHY")

rollback: .venv/.ready  ## the champion before is the champion again: MODEL=churn-predictor
	@python -m training.promote $(if $(MODEL),"$$MODEL") --rollback

# In the lab unless MLFLOW_TRACKING_URI names another MLflow; the keys of that one's bucket are then those of the shell.
reproduce: .venv/.ready  ## train a version again and compare: MODEL=churn-predictor VERSION=2 [DATASET=s3://...]
	@$(if $(filter file,$(origin MLFLOW_TRACKING_URI)),stores=$$(lab env --stores); eval "$$stores";) \
	  python -m training.reproduce $(if $(MODEL),"$$MODEL") $(if $(VERSION),"$$VERSION") $(if $(DATASET),--dataset "$$DATASET")

models: .venv/.ready  ## the registry: stages, metrics, validation, and which version this stack serves
	@python -m training.registry $(if $(MODEL),"$$MODEL") \
	  $(if $(wildcard Pulumi.local.yaml),--served <(lab pulumi config get --path mlops:endpoints --json --stack local)@local)

test: .venv/.ready  ## unit and engine tests (no cluster)
	@lab tools --only engine
	@pytest tests --ignore tests/e2e -m "not long" -n 3 --dist loadfile --no-loadscope-reorder  # engine runs are made once a module, and first

e2e: .venv/.ready  ## the long tests, then the whole path on the real cluster; takes over the lab's platform
	@pytest tests --ignore tests/e2e -m long -n 2 --dist loadfile
	@lab up --cluster-only
	@pytest tests/e2e

e2e-all: .venv/.ready  ## e2e and what is too long for CI, from a committed checkout; adds its result to docs/benchmarks.md
	@lab tools
	@python -m bench.end_to_end

# The other end of pyproject's range; the lock has the lower one.
NEWEST_SDK := 4.34.2
NEWEST := .venv/newest-sdk/pulumi_kubernetes-$(NEWEST_SDK).dist-info

$(NEWEST): | .venv/.ready
	@uv pip install --quiet --no-config --no-deps --target $(@D) pulumi-kubernetes==$(NEWEST_SDK)

check: .venv/.ready $(NEWEST)  ## format, lint, types (against both ends of the SDK's range), schemas
	@ruff format --check .
	@ruff check .
	@pyright
	@pyright --project typings/newest_sdk.json
	@python -m infra.schema --check
	@python -m training.parameter_schema --check

schema: .venv/.ready  ## write the JSON Schemas of the stack files and of the projects' parameters
	@python -m infra.schema
	@python -m training.parameter_schema

bench: .venv/.ready  ## preview time against a flat program
	@lab tools --only engine --only kubernetes-plugin
	@python bench/preview.py

bench-serving: .venv/.ready  ## the model server against its peers, on a quiet machine: [QUICK=1]
	@python bench/serving.py $(if $(QUICK),--quick)

lock: .venv/.ready  ## resolve requirements.lock again (hashes, no registry address)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  --all-extras pyproject.toml $(LOCKED) -o requirements.lock

.PHONY: help up down status train follow runs predict client validate promote rollback reproduce models test e2e e2e-all check schema bench bench-serving lock
