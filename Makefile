# Doors to the command line: every target is one printed call (or a few), and works without make too.
# The command line itself knows what is finished, so a door that has nothing to do says so and ends.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python cli.py
READY = $(VENV)/.ready
READY_DEV = $(VENV)/.ready-dev

# Variables of the doors; an empty one leaves the choice to the command line.
DATASET ?=
GENERATIONS ?=
DATA ?=
PRESET ?=
GENERATIONS ?=
FOLDS ?=
SEEDS ?=
LOSSES ?=
DEVICE ?=
JOBS ?=
SET ?=
GENERATIONS ?=
ARGS ?=

CORPUS = $(if $(DATASET),--dataset '$(DATASET)') $(if $(DATA),--data '$(DATA)')
SETTINGS = $(CORPUS) $(if $(PRESET),--preset '$(PRESET)') $(foreach s,$(SET),--set '$(s)')
CELLS = $(SETTINGS) $(if $(FOLDS),--folds '$(FOLDS)') $(if $(SEEDS),--seeds '$(SEEDS)') $(if $(DEVICE),--device $(DEVICE))
# ARGS goes to the command of the goal that was asked for, not to the steps before it.
extra = $(if $(filter $(1),$(MAKECMDGOALS)),$(ARGS))
MIXES = $(foreach mix,$(LOSSES),--losses '$(mix)')

.PHONY: help
help: ## This help, and where things stand
	@echo 'make TARGET [DATASET=urbansound8k|esc50|esc10|folder|synthetic] [DATA=folder] [PRESET=default|paper|demo]'
	@echo '            [FOLDS="1 2"] [SEEDS="0 1"] [LOSSES=angle,area] [DEVICE=auto|cpu|cuda] [JOBS=2]'
	@echo '            [SET=student.lr=0.002] [ARGS="--any-option of the command"]'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile
	@echo
	@if [ -e $(READY) ]; then $(RUN) status $(SETTINGS); else echo 'Not set up yet. Next: make demo (or make setup)'; fi

$(READY): setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say make PYTHON=python3.11")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[plots,export]'
	touch $@

$(READY_DEV): $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[plots,export,dask,test,lint]'
	touch $@

.PHONY: setup
setup: $(READY) ## Virtual environment with pinned dependencies

.PHONY: demo
demo: $(READY) ## Synthetic corpus → features → teacher → two students → report, in minutes
	$(RUN) features --dataset synthetic --preset demo $(if $(JOBS),--jobs $(JOBS))
	$(RUN) teacher --dataset synthetic --preset demo --folds '1 2'
	$(RUN) distill --dataset synthetic --preset demo --folds '1 2' --losses soft --losses angle,area
	$(RUN) report --dataset synthetic

.PHONY: features
features: $(READY) ## Stage one: five LibROSA features of every clip, one HDF5 file a fold
	$(RUN) features $(SETTINGS) $(if $(JOBS),--jobs $(JOBS)) $(call extra,features)

.PHONY: teacher
teacher: features ## Stage two: a ResNet-18 per held-out fold
	$(RUN) teacher $(CELLS) $(call extra,teacher)

.PHONY: distill
distill: teacher ## Stage three: students, LOSSES="soft angle,area" one mix or several
	$(RUN) distill $(CELLS) $(MIXES) $(call extra,distill)

.PHONY: table3
table3: features ## The paper's Table 3: whatever is missing of its rows, SEEDS="0 1 2"
	$(RUN) table3 $(CELLS) $(call extra,table3)

.PHONY: ban
ban: features ## Born-again generations: GENERATIONS=3 LOSSES="none angle"
	$(RUN) ban $(CELLS) $(if $(GENERATIONS),--generations $(GENERATIONS)) $(MIXES) $(call extra,ban)

.PHONY: table4
table4: $(READY) ## The paper's Table 4: CIFAR-100, ResNet-56, ensembles of three generations
	$(RUN) table4 $(if $(PRESET),--preset '$(PRESET)') $(foreach s,$(SET),--set '$(s)') $(if $(SEEDS),--seeds '$(SEEDS)') \
	  $(if $(DEVICE),--device $(DEVICE)) $(if $(GENERATIONS),--generations $(GENERATIONS)) $(MIXES) $(ARGS)

.PHONY: retrieval
retrieval: $(READY) ## Recall@1, 2, 4, 8 of the held-out embeddings
	$(RUN) retrieval $(CORPUS) $(MIXES) $(ARGS)

.PHONY: doctor
doctor: $(READY) ## Is everything there and working?
	$(RUN) doctor $(CORPUS) $(ARGS)

.PHONY: report
report: $(READY) ## The table of all finished runs: printed, Markdown, CSV, LaTeX
	$(RUN) report $(CORPUS) $(ARGS)

.PHONY: data
data: $(READY) ## Fetch a data set: DATASET=urbansound8k|esc50|cifar100 (ARGS=--yes)
	$(RUN) data $(if $(DATASET),--dataset '$(DATASET)') $(ARGS)

.PHONY: verify
verify: $(READY) ## Count clips, folds, classes; lengths; unreadable and extra files
	$(RUN) verify $(CORPUS) $(ARGS)

.PHONY: export
export: $(READY) ## A run as ONNX, float and int8 (ARGS=RUN for a particular one)
	$(RUN) export $(CORPUS) $(ARGS)

.PHONY: cost
cost: $(READY) ## What a clip costs: teacher, student, int8, features
	$(RUN) cost $(CORPUS) $(ARGS)

.PHONY: inspect
inspect: $(READY) ## What is in a fold's file (ARGS="--fold 1 --clip NAME --verify --json")
	$(RUN) inspect $(SETTINGS) $(ARGS)

.PHONY: test
test: $(READY_DEV) ## The tests
	$(VENV)/bin/python -m pytest -n 2 $(ARGS)

.PHONY: lint
lint: $(READY_DEV) ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy cli.py pipeline

.PHONY: bench
bench: $(READY_DEV) ## Benchmarks: features, extraction, training
	$(VENV)/bin/python -m bench.features
	$(VENV)/bin/python -m bench.extraction
	$(VENV)/bin/python -m bench.training

.PHONY: bench-settings
bench-settings: features ## Which learning rates train, without the held-out folds (DATASET= DATA=)
	$(VENV)/bin/python -m bench.settings $(CORPUS)

.PHONY: clean
clean: ## What can be made again without computing: tool caches (never data, caches or runs)
	rm -rf .pytest_cache .ruff_cache .mypy_cache build *.egg-info
