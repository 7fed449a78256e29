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
CLI = $(VENV)/bin/python cli.py
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Variables of the doors; an empty one leaves the choice to the command line.
DATASET ?=
DATA ?=
FIELDS ?=
PRESET ?=
SET ?=
FOLDS ?=
SEEDS ?=
LOSSES ?=
GENERATIONS ?=
DEVICE ?=
JOBS ?=
ARGS ?=
# What experiment runs: the name of one, or its file.
NAME =
# What search varies: the name of a space, or its file.
SPACE =
# What compare, ensemble, rerun, export, cost and predict are about.
A =
B =
RATES =
RUN =
FILES =
# Who teaches in distill and ban in place of the fold's own teacher: teacher files, or an ONNX model; and what teacher-file writes.
TEACHER =
TO =
# Where cache, runs, reports and exports lie, of every goal; rkd.toml may say it too.
ROOT ?=
# Which build of torch the set-up installs: auto, cpu or cuda; and the package index that has it.
TORCH ?= auto
TORCH_INDEX ?=

$(if $(filter-out auto cpu cuda,$(TORCH)),$(error TORCH=$(TORCH): expected auto, cpu or cuda))
$(if $(TORCH_INDEX),$(if $(filter auto,$(TORCH)),$(error TORCH_INDEX is the index of one build of torch: say which, TORCH=cpu or TORCH=cuda)))

# As the environment's, which the command line reads.
$(if $(ROOT),$(eval export AUDIO_RKD_ROOT := $(ROOT)))

comma := ,
space := $(subst ,, )
define newline


endef
quoted = '$(subst ','\'',$(1))'
# A mix is one word: spaces beside its signs are nobody's wish for another mix ("angle, area" is one, "soft angle,area" two).
joined = $(subst $(space)$(1),$(1),$(subst $(1)$(space),$(1),$(2)))
mixes_of = $(call joined,=,$(call joined,@,$(call joined,:,$(call joined,+,$(call joined,$(comma),$(strip $(1)))))))
sets_of = $(call joined,=,$(call joined,$(comma),$(strip $(1))))
CORPUS = $(if $(DATASET),--dataset $(call quoted,$(DATASET))) $(if $(DATA),--data $(call quoted,$(DATA))) \
  $(if $(FIELDS),--columns $(call quoted,$(FIELDS)))
SETS = $(foreach s,$(call sets_of,$(SET)),--set $(call quoted,$(s)))
SETTINGS = $(CORPUS) $(if $(PRESET),--preset $(call quoted,$(PRESET))) $(SETS)
WHERE = $(if $(DEVICE),--device $(DEVICE)) $(if $(JOBS),--jobs $(JOBS))
HOW = $(if $(SEEDS),--seeds $(call quoted,$(SEEDS))) $(WHERE)
CELLS = $(SETTINGS) $(if $(FOLDS),--folds $(call quoted,$(FOLDS))) $(HOW)
TAUGHT = $(foreach file,$(TEACHER),$(if $(filter %.onnx,$(file)),--teacher-onnx,--teacher) $(call quoted,$(file)))
mixes = $(foreach mix,$(call mixes_of,$(1)),--losses $(call quoted,$(mix)))
MIXES = $(call mixes,$(LOSSES))
CHAINED = $(if $(GENERATIONS),--generations $(GENERATIONS)) $(MIXES) $(foreach file,$(TEACHER),--teacher $(call quoted,$(file)))
SEARCHED = $(SETTINGS) $(if $(FOLDS),--folds $(call quoted,$(FOLDS))) $(if $(SEEDS),--train --seeds $(call quoted,$(SEEDS))) \
  $(WHERE) $(MIXES)
# The preset of rkd.toml or the environment: of the one goal that would name another where none is given.
usual_preset = $(or $(AUDIO_RKD_PRESET),$(if $(wildcard rkd.toml),$(shell $(PYTHON) -c 'import tomllib; print(tomllib.load(open("rkd.toml", "rb")).get("preset", ""))' 2>/dev/null)))
# ARGS goes to the command of the goal that was asked for, not to the steps before it.
extra = $(if $(filter $(1),$(MAKECMDGOALS)),$(ARGS))
# Which variables each goal uses. Any other one on make's command line is an error: it would change nothing, without a word.
corpus_vars := DATASET DATA FIELDS
settings_vars := DATASET DATA PRESET SET FIELDS
how_vars := SEEDS DEVICE JOBS
cells_vars := $(settings_vars) FOLDS $(how_vars)
uses = $(foreach goal,$(1),$(eval of-$(goal) := $(2)))
$(call uses,help,$(settings_vars))
$(call uses,setup lint bench reference clean,)
$(call uses,demo,DEVICE JOBS)
$(call uses,doctor verify,$(corpus_vars) ARGS)
$(call uses,check runs prune test test-all,ARGS)
$(call uses,data,DATASET ARGS)
$(call uses,features,$(settings_vars) FOLDS JOBS ARGS)
$(call uses,teacher table3,$(cells_vars) ARGS)
$(call uses,distill,$(cells_vars) LOSSES TEACHER ARGS)
$(call uses,search,$(cells_vars) SPACE LOSSES ARGS)
$(call uses,ban,$(cells_vars) GENERATIONS LOSSES TEACHER ARGS)
$(call uses,table4,PRESET SET $(how_vars) GENERATIONS LOSSES ARGS)
$(call uses,experiment,NAME $(cells_vars) ARGS)
$(call uses,strong small tiny,$(cells_vars) LOSSES RATES ARGS)
$(call uses,final,$(settings_vars) DEVICE JOBS LOSSES RATES ARGS)
$(call uses,report retrieval,$(corpus_vars) LOSSES ARGS)
$(call uses,compare,A B ARGS)
$(call uses,ensemble follow few-shot,RUN ARGS)
$(call uses,settings,PRESET SET ARGS)
$(call uses,inspect,$(settings_vars) ARGS)
$(call uses,noise cost,RUN $(corpus_vars) ARGS)
$(call uses,explain,RUN ARGS)
$(call uses,rerun,RUN DEVICE ARGS)
$(call uses,predict,RUN FILES ARGS)
$(call uses,teacher-file,RUN TO ARGS)
$(call uses,archive,RUN TO $(corpus_vars) ARGS)
$(call uses,export,RUN $(corpus_vars) PRESET RATES ARGS)
$(call uses,web,RUN $(corpus_vars) PRESET RATES ARGS)
of_all := ROOT PYTHON VENV TORCH TORCH_INDEX CLI PIP SHELL

goals := $(or $(MAKECMDGOALS),help)
used := $(of_all) $(foreach goal,$(goals),$(of-$(goal)))
typed := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(v)))),$(v)))
unused := $(filter-out $(used),$(typed))
nearest = $(shell $(PYTHON) -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))' $(foreach v,$(1),'$(subst ','\'',$(v))') 2>/dev/null)
ifneq ($(unused),)
ifeq ($(filter-out $(patsubst of-%,%,$(filter of-%,$(.VARIABLES))),$(goals)),)
near := $(call nearest,$(firstword $(unused)) $(filter-out $(of_all),$(used)))
$(error $(firstword $(unused)): make $(goals) does not use it; $(if $(near),did you mean $(near)? )expected some of $(filter-out $(of_all),$(used)) $(of_all))
endif
endif

# $(call needed,VARIABLE,EXAMPLE): its value, or a line that says how to give it.
needed = $(or $($(1)),$(error $(1) is missing: say make $(2)))
# What a goal cannot do without is asked for here, before anything is installed or run.
asked = $(if $(filter $(1),$(MAKECMDGOALS)),$(if $(call needed,$(2),$(3)),))
$(call asked,compare,A,compare A=soft B=angle$(comma)area)$(call asked,compare,B,compare A=soft B=angle$(comma)area)
$(call asked,experiment,NAME,experiment NAME=table3)$(call asked,search,SPACE,search SPACE=strong)$(call asked,ensemble,RUN,ensemble RUN=runs/…/angle40+area20+soft1)$(call asked,explain,RUN,explain RUN=runs/…/fold1-seed0)$(call asked,rerun,RUN,rerun RUN=runs/…/fold1-seed0)$(call asked,teacher-file,RUN,teacher-file RUN=runs/…/fold1-seed0 TO=teacher.npz)$(call asked,archive,TO,archive TO=table.rkd.zip)$(call asked,teacher-file,TO,teacher-file RUN=runs/…/fold1-seed0 TO=teacher.npz)$(call asked,predict,RUN,predict RUN=runs/…/fold1-seed0 FILES=a.wav)

# All that a goal with several steps is given is parsed before the first of them: each command reads these calls, those of the goals
# that were asked for, and then does its own.
call-teacher = teacher $(CELLS) $(ARGS)
call-distill = distill $(CELLS) $(MIXES) $(TAUGHT) $(ARGS)
call-search = search $(call quoted,$(SPACE)) $(SEARCHED) $(ARGS)
call-table3 = table3 $(CELLS) $(ARGS)
call-ban = ban $(CELLS) $(CHAINED) $(ARGS)
shipped_how = $(CORPUS) --preset $(call quoted,$(or $(PRESET),$(1))) $(SETS) $(if $(FOLDS),--folds $(call quoted,$(FOLDS))) $(HOW)
call_shipped = distill $(call shipped_how,$(1)) $(MIXES) $(2)$(newline)export --preset $(call quoted,$(or $(PRESET),$(1))) $(RATES) $(ARGS)
call-strong = $(call call_shipped,strong,$(TAUGHT_BY_TWO))
call-small = $(call call_shipped,small)
call-tiny = $(call call_shipped,tiny)
call-final = distill $(call shipped_how,$(or $(usual_preset),small)) $(MIXES)$(newline)final $(CORPUS) --preset $(call quoted,$(or $(PRESET),$(usual_preset),small)) $(SETS) $(MIXES) \
  $(WHERE) $(RATES) $(ARGS)
call-web = web $(RUN) $(CORPUS) $(ARGS)
export AUDIO_RKD_GOALS = $(foreach goal,$(MAKECMDGOALS),$(call-$(goal))$(newline))

.PHONY: help
## First steps
help: ## This help, and where things stand
	@echo 'make TARGET [DATASET=urbansound8k|esc50|esc10|folder|csv|synthetic] [DATA=folder] [PRESET=default|paper|demo|device|small|tiny|strong]'
	@echo '            [FOLDS="1 2"] [SEEDS="0 1"] [LOSSES=angle,area] [SET=student.lr=0.002] [DEVICE=auto|cpu|cuda]'
	@echo '            [JOBS=2] [ARGS="--any-option of the command"]; all options: $(CLI) TARGET --help'
	@awk -F ':.*## ' '/^## / {print substr($$0, 4)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile
	@echo
	@if [ -e $(VENV)/.ready ]; then $(CLI) status $(SETTINGS); else echo 'Not set up yet. Next: make demo (or make setup)'; fi

# A file for each build of torch that was asked for; .ready itself stands for any.
READY = $(VENV)/.ready$(if $(filter cpu cuda,$(TORCH)),-$(TORCH))
READY_DEV = $(VENV)/.ready-dev
READY_SEARCH = $(VENV)/.ready-search
READY_DOCS = $(VENV)/.ready-docs

$(READY): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say make PYTHON=python3.11")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --force-reinstall --no-deps --index-url '$(TORCH_INDEX)' torch)
	$(PIP) -e '.[plots,export,media]'
	$(if $(filter cpu cuda,$(TORCH)),rm -f $(VENV)/.ready-c* && $(CLI) doctor --torch $(TORCH))
	touch $(sort $(VENV)/.ready $@)

$(READY_DEV): $(READY)
	$(PIP) -e '.[plots,export,media,dask,search,tensorboard,test,lint]'
	touch $@

$(READY_SEARCH): $(READY)
	$(PIP) -e '.[plots,export,media,search]'
	touch $@

$(READY_DOCS): $(READY)
	$(PIP) -e '.[plots,export,docs]' || { echo 'error: pdoc, which makes the reference pages, could not be installed; docs/api.md needs none' >&2; exit 1; }
	touch $@

.PHONY: setup
setup: $(READY) ## Virtual environment with pinned versions; TORCH=cpu|cuda TORCH_INDEX=address for one build of torch
	@echo 'Set up in $(VENV). Next: make demo, make doctor, or make for help'

.PHONY: demo
demo: $(READY) ## Synthetic corpus → features → teacher → two students → report, in minutes
	$(CLI) features --dataset synthetic --preset demo $(if $(JOBS),--jobs $(JOBS))
	$(CLI) teacher --dataset synthetic --preset demo --folds '1 2' $(WHERE)
	$(CLI) distill --dataset synthetic --preset demo --folds '1 2' --losses soft --losses angle,area $(WHERE)
	$(CLI) report --dataset synthetic

.PHONY: doctor
doctor: $(READY) ## Is everything there and working? Libraries, device, folders, corpora, caches, runs
	$(CLI) doctor $(CORPUS) $(ARGS)

.PHONY: check
check: $(READY) ## Is all that was written as it was written? Features, runs, exports (ARGS="runs/CORPUS --json")
	$(CLI) check $(ARGS)

## The stages
.PHONY: data
data: $(READY) ## Fetch a data set: DATASET=urbansound8k|esc50|cifar100 (ARGS=--yes: do not ask)
	$(CLI) data $(if $(DATASET),--dataset $(call quoted,$(DATASET))) $(ARGS)

.PHONY: verify
verify: $(READY) ## Count clips, folds, classes; lengths; unreadable and extra files
	$(CLI) verify $(CORPUS) $(ARGS)

# Before a training the features of all folds are needed.
ALONE = $(if $(filter-out features,$(MAKECMDGOALS)),,$(if $(FOLDS),--folds $(call quoted,$(FOLDS))))
.PHONY: features
features: $(READY) ## Stage one: five LibROSA features of every clip, one HDF5 file per fold
	$(CLI) features $(SETTINGS) $(ALONE) $(if $(JOBS),--jobs $(JOBS)) $(call extra,features)

.PHONY: teacher
teacher: features ## Stage two: a ResNet-18 per held-out fold
	$(CLI) teacher $(CELLS) $(call extra,teacher)

.PHONY: distill
distill: $(if $(TEACHER),features,teacher) ## Stage three: students; LOSSES="soft angle,area" for several mixes; TEACHER=FILE.npz (or .onnx): of any program
	$(CLI) distill $(CELLS) $(MIXES) $(TAUGHT) $(call extra,distill)

.PHONY: search
search: $(READY_SEARCH) features ## Settings chosen without the held-out folds: SPACE=strong (ARGS=--explain: how long), then ARGS="--train --seeds 0-4"
	$(CLI) search $(call quoted,$(SPACE)) $(SEARCHED) $(call extra,search)

.PHONY: table3
table3: features ## The paper's Table 3: whatever is missing of its rows; SEEDS="0 1 2"
	$(CLI) table3 $(CELLS) $(call extra,table3)

.PHONY: ban
ban: $(if $(filter cifar100,$(DATASET)),$(READY),features) ## Born-again generations: GENERATIONS=3 LOSSES="none angle"; DATASET=cifar100 too
	$(CLI) ban $(CELLS) $(CHAINED) $(call extra,ban)

.PHONY: table4
table4: $(READY) ## The paper's Table 4: CIFAR-100, ResNet-56, ensembles of three generations
	$(CLI) table4 $(if $(PRESET),--preset $(call quoted,$(PRESET))) $(SETS) $(HOW) \
	  $(if $(GENERATIONS),--generations $(GENERATIONS)) $(MIXES) $(ARGS)

.PHONY: experiment
experiment: $(READY) ## Any experiment, steps of a TOML file: NAME=born-again (or mine.toml); ARGS=--explain says what it would cost
	$(CLI) experiment $(call quoted,$(NAME)) $(CELLS) $(ARGS)

## A student worth shipping: features → teachers → student → report → export
strong small tiny final: LOSSES := ce:0.3,hinton:0.7@T=2
strong: PRESET := strong
small: PRESET := small
tiny: PRESET := tiny
# The teachers of strong: two of a fold, which hear 64 mel bands.
mel = $(1) features.use=melspectrogram $(1) features.bins=64
MEL_TEACHERS = $(SETTINGS) $(call mel,--set)
TAUGHT_BY_TWO = --teacher-seeds 0-1 $(call mel,--teacher-set)
# All steps stand in the recipe, not among prerequisites: "make small tiny" has some of them twice.
define shipped
	$(CLI) features $(SETTINGS) $(if $(JOBS),--jobs $(JOBS))
	$(CLI) teacher $(CELLS)
	$(CLI) distill $(CELLS) $(MIXES)
	$(CLI) report $(CORPUS)
	$(CLI) export $(CORPUS) --preset $(call quoted,$(PRESET)) $(RATES) $(call extra,$@)
endef

.PHONY: strong
strong: $(READY) ## The paper's student and features, taught better: by two teachers that hear 64 mel bands
	$(CLI) features $(SETTINGS) $(if $(JOBS),--jobs $(JOBS))
	$(CLI) features $(MEL_TEACHERS) $(if $(JOBS),--jobs $(JOBS))
	$(CLI) teacher $(MEL_TEACHERS) $(if $(FOLDS),--folds $(call quoted,$(FOLDS))) $(WHERE) --seeds 0-1
	$(CLI) distill $(CELLS) $(MIXES) $(TAUGHT_BY_TWO)
	$(CLI) report $(CORPUS)
	$(CLI) export $(CORPUS) --preset $(call quoted,$(PRESET)) $(RATES) $(call extra,$@)

.PHONY: small
small: $(READY) ## Under 100,000 weights on 64 mel bands, and as one file from sound to class
	$(shipped)

.PHONY: tiny
tiny: $(READY) ## Under 25,000 weights, and as one file
	$(shipped)

.PHONY: final
final: PRESET := $(or $(PRESET),$(usual_preset),small)
final: $(READY) ## A student to ship: held-out runs first, then one of all folds, as ONNX with proof, model card, "none of these" (PRESET=small)
	$(CLI) features $(SETTINGS) $(if $(JOBS),--jobs $(JOBS))
	$(CLI) teacher $(CELLS)
	$(CLI) distill $(CELLS) $(MIXES)
	$(CLI) final $(SETTINGS) $(MIXES) $(WHERE) $(RATES) $(call extra,final)

## Looking at what there is
.PHONY: report
report: $(READY) ## The table of all finished runs: printed, Markdown, CSV, LaTeX, and a page with pictures
	$(CLI) report $(CORPUS) $(MIXES) $(ARGS)

.PHONY: settings
settings: $(READY) ## Every setting of PRESET as commented TOML (ARGS="--diff default strong": what differs)
	$(CLI) settings $(if $(PRESET),--preset $(call quoted,$(PRESET))) $(SETS) $(ARGS)

.PHONY: runs
runs: $(READY) ## The runs there are, a line each (ARGS="--mix angle,area --status trained --json")
	$(CLI) runs $(ARGS)

.PHONY: compare
compare: $(READY) ## What differs between two mixes, runs or folders, and by how much: A=soft B=angle,area
	$(CLI) compare $(call quoted,$(A)) $(call quoted,$(B)) $(ARGS)

.PHONY: ensemble
ensemble: $(READY) ## The accuracy of runs that vote, a fold a line: RUN="a folder of runs, or several runs"
	$(CLI) ensemble $(RUN) $(ARGS)

.PHONY: archive
archive: $(READY) ## Runs, or all of a table, as one file that "audio-rkd report FILE" reads elsewhere: TO=table.rkd.zip (RUN= particular ones)
	$(CLI) archive $(RUN) $(CORPUS) -o $(call quoted,$(TO)) $(ARGS)

.PHONY: prune
prune: $(READY) ## What takes how much room, and what uses it (ARGS="--remove runs": away with what no table uses)
	$(CLI) prune $(ARGS)

.PHONY: follow
follow: $(READY) ## Trainings under way, live in one line (in another terminal)
	$(CLI) follow $(RUN) $(ARGS)

.PHONY: inspect
inspect: $(READY) ## What is in a fold's file (ARGS="--fold 1 --verify"), or a clip as a picture (ARGS="--clip NAME")
	$(CLI) inspect $(SETTINGS) $(ARGS)

.PHONY: retrieval
retrieval: $(READY) ## Recall@1, 2, 4, 8 of the held-out embeddings
	$(CLI) retrieval $(CORPUS) $(MIXES) $(ARGS)

.PHONY: few-shot
few-shot: $(READY) ## Accuracy on classes never trained on, from few examples: RUN="a folder of runs, or several" (ARGS="--shot 1")
	$(CLI) few-shot $(RUN) $(ARGS)

.PHONY: noise
noise: $(READY) ## The accuracy of runs on held-out clips in noise: RUN="a folder of runs, or several runs" (ARGS="--snr 20,10,0")
	$(CLI) noise $(RUN) $(CORPUS) $(ARGS)

.PHONY: explain
explain: $(READY) ## What a distilled student listens to, beside its teacher and the same network on labels: RUN=runs/…/fold1-seed0
	$(CLI) explain $(RUN) $(ARGS)

.PHONY: rerun
rerun: $(READY) ## A run once more from its record: is it the same bit for bit? RUN=runs/…/fold1-seed0
	$(CLI) rerun $(call quoted,$(RUN)) $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

## Using a run
.PHONY: predict
predict: $(READY) ## What a run says of sounds: RUN=runs/…/fold1-seed0 FILES="a.wav folder"
	$(CLI) predict $(RUN) $(FILES) $(ARGS)

.PHONY: teacher-file
teacher-file: $(READY) ## What runs say of the clips they were trained on, as a file for TEACHER=: RUN=runs/…/fold1-seed0 TO=teacher.npz
	$(CLI) teacher-file $(RUN) -o $(call quoted,$(TO)) $(ARGS)

.PHONY: export
export: $(READY) ## A run as ONNX, float and int8; of PRESET=device one file from sound to class too (RUN= a particular one; else the best mix's)
	$(CLI) export $(RUN) $(CORPUS) $(if $(PRESET),--preset $(call quoted,$(PRESET))) $(RATES) $(call extra,export)

.PHONY: web
web: PRESET := $(if $(RUN),,$(or $(PRESET),device))
web: RATES = --rate 44100 --rate 48000
# A student of all folds was exported by final, with the rates that it was asked for.
web: $(if $(filter finals/%,$(RUN))$(findstring /finals/,$(RUN)),$(READY),export) ## A page that hears (files, microphone, examples), for a server and as one HTML file; needs npm once (PRESET=device, or RUN=)
	$(CLI) web $(RUN) $(CORPUS) $(if $(PRESET),--preset $(call quoted,$(PRESET))) $(call extra,web)

.PHONY: cost
cost: $(READY) ## What a clip costs: teacher, student, int8, features (RUN= a particular one)
	$(CLI) cost $(RUN) $(CORPUS) $(ARGS)

## The project itself
.PHONY: test
test: $(READY_DEV) ## The tests, without those marked slow
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m 'not slow' $(ARGS)

.PHONY: test-all
test-all: $(READY_DEV) ## All tests, the slow ones too
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

.PHONY: lint
lint: $(READY_DEV) ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy audio_rkd.py cli.py pipeline

.PHONY: bench
bench: $(READY_DEV) ## Benchmarks: features, extraction, training, terms
	$(VENV)/bin/python -m bench.features
	$(VENV)/bin/python -m bench.extraction
	$(VENV)/bin/python -m bench.training
	$(VENV)/bin/python -m bench.training_processes
	$(VENV)/bin/python -m bench.terms

.PHONY: reference
reference: $(READY_DOCS) ## Pages of the Python API (import audio_rkd) in reference/, as files: no server
	$(VENV)/bin/python docs/reference.py reference

.PHONY: clean
clean: ## Remove tool caches (never data, features or runs)
	rm -rf .pytest_cache .ruff_cache .mypy_cache build *.egg-info
