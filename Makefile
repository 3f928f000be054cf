# make demo   install everything, run the embedded demo, print its summary
# make test   install everything, pass the tests
# make help   the other targets and the variables
SHELL := /bin/bash
.DEFAULT_GOAL := help

# A Python of a supported version; the first that fits, unless given: make PYTHON=python3.12 test
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
# cpu (plain TensorFlow; uses GPUs too), tpu, or jax (for KERAS_BACKEND=jax and check-tpu): which lock is installed
ACCELERATOR ?= cpu
CORES ?= all
EXPERIMENT ?= E3
# Kills of `make chaos`
N ?= 100
# Of `make simulate`
DEVICES ?= 64
# What check-tpu compiles; a batch is one chip's
GENOTYPE ?= evopose2d_s
BATCH ?= 64
TOPOLOGY ?= v5e:2x2
HEIGHT ?= 256
WIDTH ?= 192
# whose report `make report` makes
CONFIG := config/config.yaml
ARGS ?=

LOCK := envs/lock$(addprefix -,$(filter tpu jax,$(ACCELERATOR))).txt
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(ACCELERATOR)
SNAKEMAKE := $(BIN)/snakemake --profile profiles/local --cores $(CORES)
RESULTS := results/demo
# The folder of CONFIG's experiment
OWN := results/$(shell sed -n 's/^experiment: *["'"'"']\{0,1\}\([A-Za-z0-9_.-]*\).*/\1/p' $(CONFIG) 2>/dev/null)

# Imports take twice as long when every process has to compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: help install cluster demo coco smoke simulate paper check-tpu test test-cluster chaos learn lint format report dag bench lock clean venv

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 21
	@echo '  variables: PYTHON=python3.12  ACCELERATOR=cpu|tpu|jax  CORES=2  CONFIG=my.yaml (report)  ARGS="further options of snakemake or pytest"'

install: $(STAMP) ## make .venv with the locked packages (ACCELERATOR=tpu: for a TPU VM)

# What a link leads to may be the environment of another checkout: it is used as it is, and never changed.
NO_LINK = if [ -L $(VENV) ]; then echo "$(VENV) is a link to $$(readlink $(VENV)), perhaps the environment of another checkout: nothing is installed there. Remove the link, or name the folder itself: make VENV=$$(readlink $(VENV))" >&2; exit 1; fi

# An explicitly given PYTHON of another version replaces the environment; else one that runs is enough.
venv:
	@if [ "$(origin PYTHON)" = file ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
	test -n "$(PYTHON)" || { echo 'No Python 3.11, 3.12 or 3.13 found: install one, or name it with make PYTHON=/path/to/python3.12' >&2; exit 1; }; \
	wanted=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') || { echo 'PYTHON=$(PYTHON) does not run' >&2; exit 1; }; \
	case "$$wanted" in 3.11|3.12|3.13) ;; *) echo "$(PYTHON) is Python $$wanted; 3.11, 3.12 or 3.13 is needed" >&2; exit 1;; esac; \
	found=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none); \
	if [ "$$found" = none ] || { [ "$(origin PYTHON)" != file ] && [ "$$found" != "$$wanted" ]; }; then \
	  $(NO_LINK); \
	  echo "Making $(VENV) with Python $$wanted"; \
	  $(PYTHON) -m venv --clear $(VENV) || { echo 'python -m venv failed: install the venv module of your Python (Debian: python3-venv)' >&2; exit 1; }; \
	fi

# One lock, every platform and Python version; hashes are checked, bytecode is compiled once, here.
$(STAMP): $(LOCK) pyproject.toml | venv
	@$(NO_LINK)
	@awk '/^[a-z]/ {wanted = /^uv==/} wanted' $(LOCK) > $(VENV)/uv.txt
	$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --require-hashes --compile-bytecode $(LOCK)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@

# Not part of an installation: Snakemake loads each of its plugins whenever it starts.
cluster: $(VENV)/.installed-cluster ## add the executors of Slurm and Kubernetes, and Dask, to .venv
$(VENV)/.installed-cluster: envs/lock-cluster.txt $(STAMP)
	@$(NO_LINK)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --require-hashes --compile-bytecode -r envs/lock-cluster.txt
	@touch $@

demo: install ## run the demo (config/config.yaml) and print its summary
	$(SNAKEMAKE) $(ARGS)
	@$(MAKE) --no-print-directory $(RESULTS)/report.html
	@cat $(RESULTS)/summary.md

$(RESULTS)/report.html: $(RESULTS)/summary.md
	@$(SNAKEMAKE) --report $@ --quiet

report: install ## make the HTML report in results/<experiment>/ of the demo, or of CONFIG=my.yaml (and BRANCH=small)
	@test "$(OWN)" != results/ || { echo 'CONFIG=$(CONFIG): no such file, or it has no line "experiment: ..."' >&2; exit 1; }
	$(SNAKEMAKE) --configfile $(CONFIG) --report $(OWN)$(if $(BRANCH),@$(BRANCH))/report.html $(ARGS)

# Everything is looked at again: what is complete is only counted, what is missing is fetched.
coco: install ## get COCO 2017 into data/coco (20 GB; 42 GB free); what lies there is used
	$(SNAKEMAKE) coco $(ARGS) --forceall --config experiment=coco2017 dataset=config/datasets/coco2017.yaml

smoke: install ## an experiment of the paper on synthetic pictures, in minutes: make smoke EXPERIMENT=E3
	$(SNAKEMAKE) --configfile config/experiments/$(EXPERIMENT).yaml config/overrides/smoke.yaml \
	  --config experiment=smoke_$(EXPERIMENT) $(ARGS)

# Every device is a core of Snakemake's here: simulated trainings only wait.
simulate: install ## a search without trainings: how busy DEVICES=64 devices are kept, kills included
	$(BIN)/snakemake --profile profiles/local search --configfile config/simulation.yaml --cores $(DEVICES) \
	  --resources accelerator=$(DEVICES) --retries 5 $(ARGS)
	@$(BIN)/python scripts/utilisation.py --search results/simulation/search --devices $(DEVICES) \
	  --json results/simulation/utilisation.json --figure results/simulation/utilisation.svg

paper: install ## the paper's tables and figures from whatever results exist, into results/paper
	$(SNAKEMAKE) paper $(ARGS)

check-tpu: ## compile a training step for a TPU, without one: GENOTYPE=largest BATCH=64 TOPOLOGY=v5e:2x2
	@$(MAKE) --no-print-directory install ACCELERATOR=jax VENV=.venv-jax
	.venv-jax/bin/python scripts/check_tpu.py --genotype "$(GENOTYPE)" --batch $(BATCH) --topology $(TOPOLOGY) \
	  --height $(HEIGHT) --width $(WIDTH) $(ARGS)

test: install ## pass the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

test-cluster: ## pass the tests of clusters and buckets, on a Slurm, a Dask and a storage that they start; installs Debian's packages that are missing
	bash tests/cluster/install.sh
	@$(MAKE) --no-print-directory cluster VENV=.venv-cluster
	.venv-cluster/bin/python -m pytest tests/cluster $(ARGS)

chaos: install ## kill a tiny search N=100 times in every phase; it has to come to the same end (half an hour)
	$(BIN)/python -m tests.chaos $(N) $(ARGS)

learn: install ## train every network on synthetic pictures, and compare with the best constant heat maps (hours on a CPU)
	$(BIN)/python -m tests.learning $(ARGS)

lint: install ## ruff, mypy, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy scripts/*.py
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

format: install ## rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt workflow

dag: install ## draw the workflow into results/dag: SVG where `dot` is installed, mermaid always
	@$(BIN)/python scripts/draw_dag.py --output results/dag

bench: install ## measure the hot paths; see tests/benchmarks
	$(BIN)/python -m tests.benchmarks $(ARGS)

# That of JAX begins as a copy of the plain one, so that both have the same versions.
lock: install ## renew the locks and the conda environment from pyproject.toml
	for accelerator in cpu tpu jax; do \
	  [ $$accelerator = jax ] && cp envs/lock.txt envs/lock-jax.txt; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url --extra $$accelerator --extra dev pyproject.toml \
	    -o envs/lock$$([ $$accelerator = cpu ] || echo -$$accelerator).txt || exit; \
	done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --no-emit-index-url --group cluster -c envs/lock.txt -o envs/lock-cluster.txt
	$(BIN)/python scripts/conda_environment.py --lock envs/lock.txt --output envs/evopose.yaml

clean: ## delete the environment and all results
	rm -rf $(VENV) results logs benchmarks .snakemake
