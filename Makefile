# `make help` lists the targets. Everything lands in build/, .venv and .venv-trainer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE ?= build/starter.zarr
RUNS ?= build/runs
ENCODER ?= pointmae
RUN = $(RUNS)/$(ENCODER)
# Two trainings side by side have half of the processors each, unless the user says how many.
HALF = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$($(BIN)/python -c 'from trainer.machine import processors; print((processors() + 1) // 2)')}
# One test process a core, one thread each.
PARALLEL ?= -n auto --dist worksteal

.PHONY: help setup egl built cache train train-distill train-compared dense dense-true dense-false test test-all-but-trainer test-trainer torture slurm check bench bench-scale bench-gpu docs science paper starter-teachers starter-encoder clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: $(VENV)/installed egl  ## make .venv with the pinned packages, and see that pictures can be drawn

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo "Now pip installs 3 GB of packages into $(VENV). It says nothing, and takes a few minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,trainer,dev]'
	@touch $@

.venv-trainer/installed: pyproject.toml constraints.txt | $(VENV)/installed  # two pips cannot build this project at once
	$(PYTHON) -m venv .venv-trainer
	.venv-trainer/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[trainer,onnx,search,test]'
	@touch $@

egl: $(VENV)/installed
	@$(BIN)/python -m pipeline.render || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -qq -y libegl1 libgl1-mesa-dri && $(BIN)/python -m pipeline.render; \
	else echo "Pictures cannot be drawn. Type: sudo apt-get install libegl1 libgl1-mesa-dri"; exit 1; fi

built: setup
	$(BIN)/mmpd-cache build starter $(CACHE)

cache: built  ## build the default cache (shapes made in code, small teachers that come along) and its report page
	$(BIN)/mmpd-cache report $(CACHE) $(CACHE:.zarr=.html)
	@echo "Look at $(CACHE:.zarr=.html)"

train: built  ## both stages on the default cache, a table, and curves; ENCODER=pointm2ae or pointmamba adds rows
	$(BIN)/mmpd-train align $(CACHE) $(RUN)-align --set encoder.name=$(ENCODER)-tiny --resume
	$(BIN)/mmpd-train guide $(CACHE) $(RUN)-align
	@echo "Now stage 2 and what it is compared with, side by side. This takes minutes."
	@$(HALF) $(MAKE) --no-print-directory -j2 -Oline train-distill train-compared
	$(BIN)/mmpd-train eval svm,knn $(RUN)-distill $(CACHE) >/dev/null
	$(BIN)/mmpd-train eval table $$(dirname $$(ls -d $(RUNS)/*/eval))
	@echo "Curves: $(RUN)-align/curves.png $(RUN)-distill/curves.png; confusions: $(RUN)-*/eval/*.png"

train-distill:  # stage 2
	$(BIN)/mmpd-train distill $(CACHE) $(RUN)-distill --guide $(ENCODER)-align --init $(RUN)-align --set encoder.name=$(ENCODER)-tiny --resume

train-compared:  # an untrained encoder, and evaluations of it and of stage 1
	$(BIN)/mmpd-train distill $(CACHE) $(RUN)-scratch --recipe scratch --set encoder.name=$(ENCODER)-tiny --resume
	$(BIN)/mmpd-train eval svm,knn $(RUN)-scratch $(RUN)-align $(CACHE) >/dev/null
	$(BIN)/mmpd-train eval zeroshot $(RUN)-align $(CACHE) >/dev/null

ROOMS := build/rooms
FURNITURE := --set "source.classes=bathtub,bed,chair,desk,dresser,monitor,night stand,sofa,table,toilet"
LEARN := --set seeds=1 --set warmup=1
dense: cache  ## parts, rooms and boxes: the dense tasks on made shapes and made rooms, with pictures
	$(BIN)/mmpd-cache build rooms $(ROOMS)-columns.zarr --recipe scenes $(FURNITURE) --set source.count=32 --set source.size=2 \
	  --set source.stride=1.5 --set points.blocks=1
	$(BIN)/mmpd-cache build rooms $(ROOMS).zarr --recipe whole-scenes $(FURNITURE) --set source.count=96 --set points.count=4096 \
	  --set points.ordered=512
	$(BIN)/mmpd-train align $(CACHE) $(RUN)-align --set encoder.name=$(ENCODER)-tiny --resume
	@echo "Now three tasks are trained twice, from random weights and from those of stage 1, side by side. This takes minutes."
	@$(HALF) $(MAKE) --no-print-directory -j2 -Oline dense-true dense-false
	$(BIN)/mmpd-train eval table $(RUN)-align
	@echo "Predictions beside the truth: $(RUN)-align/eval/*.png"

dense-true dense-false:  # the tasks of `dense` from random weights (true), or from those of stage 1
	@$(BIN)/mmpd-train eval parts $(RUN)-align $(CACHE) $(LEARN) --set lr=1e-3 --set batch=8 --set epochs=8 --set scratch=$(@:dense-%=%)
	@$(BIN)/mmpd-train eval scenes $(RUN)-align $(ROOMS)-columns.zarr $(LEARN) --set lr=1e-3 --set batch=8 --set epochs=6 \
	  --set scratch=$(@:dense-%=%)
	@$(BIN)/mmpd-train eval detect $(RUN)-align $(ROOMS).zarr $(LEARN) --set epochs=30 --set queries=96 --set groups=128 \
	  --set model.layers=3 --set model.dropout=0 --set model.head_dropout=0 --set scratch=$(@:dense-%=%)

test: test-all-but-trainer test-trainer  ## run the tests; -j2: both halves at once, if memory allows it

test-all-but-trainer: setup  # the first half of `test`
	$(BIN)/python -m pytest $(PARALLEL) --ignore=tests/trainer

test-trainer: .venv-trainer/installed  # the other half, where no teacher library is installed
	.venv-trainer/bin/python -m pytest $(PARALLEL) tests/trainer

torture: setup  ## kill builds, damage caches, fill disks, and count what holds; MINUTES=10
	$(BIN)/python -m tests.torture.torture --minutes $(or $(MINUTES),10)

slurm: setup  ## a real Slurm on this machine: a build on two nodes that is killed has the bytes of one without; SETTINGS="--set source.count=96"
	@command -v slurmctld >/dev/null || [ -x /usr/sbin/slurmctld ] || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y slurm-wlm munge; \
	else echo "Type: sudo apt-get install slurm-wlm munge"; exit 1; fi
	$(BIN)/python -m tests.slurm.whole build/slurm $(SETTINGS)

check: setup  ## what CI runs beside the tests: style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

BENCHES := reader codec render build captions step profile_step embed search afar
bench: setup  ## measure against peers and limits, half an hour: ONLY=step for one, WITH="--rounds 3" for its options
	@for name in $(or $(ONLY),$(BENCHES)); do $(BIN)/python bench/$$name.py $(WITH) || exit 1; done
	@echo "Measured: build/bench/*.json. To keep it and write docs/numbers.md: python bench/page.py --keep"

bench-scale: setup  ## measure a cache of a million shapes: many minutes, 3 GB in the temporary folder; WITH="--shapes 100000" for fewer
	$(BIN)/python bench/scale.py $(WITH)

bench-gpu: setup  ## measure training, teachers, captions and drawing on a GPU, at most 8 minutes; writes build/bench/gpu.json
	$(BIN)/python bench/gpu.py

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(VENV)/docs  ## build the documentation, offline, into build/site; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet  # the variable only silences an advertisement
	@echo "Look at build/site/index.html"

science: setup  ## does the method hold where it is hard? rows x collections x seeds: a night; DATA=../data for real meshes, WITH="--rows scratch"
	$(BIN)/python science/study.py build/study $(if $(DATA),--data $(DATA),--collections starter designs materials drawers) $(WITH)

paper:  ## the table of the paper from the official files: DATA=/data; WITH="--plan" tells hours first; MODELS=hub, OUT=build/paper
	@test -n "$(DATA)" || { echo 'Type: make paper DATA=/folder/with/the/data/sets; docs/howto/official-data.md says how they must lie'; exit 1; }
	@$(MAKE) --no-print-directory setup
	$(BIN)/python science/paper.py $(or $(OUT),build/paper) --data $(DATA) $(if $(MODELS),--models $(MODELS)) $(WITH)

starter-teachers: setup  ## train small teachers on made shapes: hours on two cores
	$(BIN)/python -m pipeline.starter.train build/starter-teachers
	$(BIN)/python -m pipeline.starter.score build/starter-teachers --card
	@echo "To use them: cp -r build/starter-teachers/starter-* pipeline/starter/checkpoints/"

starter-encoder: setup  ## train the encoder that comes with the project on made shapes, Point-MAE's way: 20 minutes of one core
	$(BIN)/mmpd-cache build starter build/starter-shapes.zarr --recipe points --set source.count=3600 --set points.normals=false
	OMP_NUM_THREADS=1 $(BIN)/mmpd-train distill build/starter-shapes.zarr build/starter-point-mae --recipe point-mae --resume \
	  --set encoder.name=pointmae-tiny --set distill.reconstruction_depth=2 --set optim.batch=32 --set optim.lr=1e-3 \
	  --set optim.warmup=5 --set optim.epochs=60 --set augment.per_axis=false
	$(BIN)/mmpd-train eval svm build/starter-point-mae build/starter-shapes.zarr
	@echo "To ship it: mmpd-train push build/starter-point-mae trainer/shipped/starter-point-mae --licence MIT --replace"

clean:  ## remove what make made, caches too
	rm -rf build $(VENV) .venv-*
