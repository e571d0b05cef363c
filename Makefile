# Each target does all the set-up it needs, from a bare clone.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.PHONY: help setup train test lint test-slow torture test-cluster test-gpu bench results \
	tables docs site gallery notebooks demos gpu clean
help:
	@echo "make train         set up, train a conditional GAN on real digits (minutes on two cores)"
	@echo "make test          set up, lint, run the tests that fit in 6 minutes on two cores"
	@echo "make lint          ruff and mypy"
	@echo "make test-slow     the whole matrix, and the other long tests"
	@echo "make torture       kill runs 500 times, and compare bits"
	@echo "make test-gpu      the tests that need a CUDA device"
	@echo "make test-cluster  sweeps on a real SLURM of one node, and on Ray where it is installed"
	@echo "                   (as root; apt-get install slurm-wlm munge)"
	@echo "make bench         all benchmarks, 15 minutes on two quiet cores, and a page of them"
	@echo "make results       keep records of the runs in outputs, and write docs/results.md from"
	@echo "                   all records that are kept; RUNS='DIR DIR' takes other runs"
	@echo "make tables        train what is missing for the pages of docs/results and docs/doctor.md"
	@echo "                   in outputs/ (hours of two cores), and write them; DATA=DIR has MNIST"
	@echo "make site          build the documentation in build/site, with warnings as errors"
	@echo "make docs          write docs/departures.md from the first lines of conf/model, and the"
	@echo "                   tables of docs/scaling.md by counting a step of each preset (minutes);"
	@echo "                   then make site"
	@echo "make gallery       write docs/gallery.md from the runs in outputs/gallery"
	@echo "make notebooks     run the notebooks of examples/, and keep their outputs in them"
	@echo "make demos         make the demonstrations, and write their pages (docs/demos)"
	@echo "make gpu           tests, benchmark and a training on a GPU"
	@echo "make clean         remove .venv, builds and caches"

setup: .venv/.stamp

.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "gentrain needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
		echo "no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@if command -v uv >/dev/null; then \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			-c constraints.txt -e '.[dev]'; \
	fi
	@touch $@

# Chosen on the validation digits: classifier-FID 48 after 3,000 steps, 40 to 42 after 4,000. Half
# precision takes half of the time where the device is fast at it, with the same scores.
TRAINED := outputs/first-$(shell date +%Y%m%d-%H%M%S)
train: setup
	$(BIN)/gentrain model=cgan model.matching_aware=true data=mnist_5k 'tricks=[ema]' steps=4000 \
		quality.every=1000 samples.every=500 hydra.run.dir=$(TRAINED) trainer.precision=auto
	$(BIN)/gentrain sample run=$(TRAINED) mode=class_grid out=$(TRAINED)/digits
	@echo
	@echo "Next:  source .venv/bin/activate"
	@echo "       gentrain model=wgan_gp data=mnist         # all of MNIST; data.root=DIR finds it"
	@echo "       gentrain model=sngan                      # another model; gentrain list models"
	@echo "       gentrain -m model=gan,dcgan seed=0,1 experiment=quick     # four runs"

test: setup lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-slow: setup
	$(BIN)/python -m pytest -n $(WORKERS) -q -m slow

torture: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -rA -q -m torture

SLURM ?= /tmp/gentrain-slurm
test-cluster: setup
	scripts/local_slurm.sh start $(SLURM)
	SLURM_CONF=$(SLURM)/slurm.conf GENTRAIN_TEST_LIMIT=600 \
		$(BIN)/python -m pytest -q -m cluster; \
		status=$$?; scripts/local_slurm.sh stop $(SLURM); exit $$status

test-gpu: setup
	$(BIN)/python -m pytest -q -m gpu

bench: setup
	$(BIN)/python benchmarks/all.py

RUNS ?= outputs
results: setup
	$(BIN)/python scripts/results.py $(RUNS)

ABLATED := label_smoothing,minibatch_discrimination,feature_matching_added
ABLATED := [$(ABLATED),historical_averaging,virtual_batch_norm]
ABLATION := model=improved_gan data=mnist $(DATA:%=data.root=%) data.batch_size=32 \
	model.generator.width=16 model.critic.width=16 steps=400 quality.samples=1000 \
	quality.every=400 samples.every=0 seed=0,1,2,3,4 sweep.name=ablate
tables: setup
	$(BIN)/gentrain -m sweep=mode_coverage sweep.name=mode_coverage
	$(BIN)/python scripts/coverage_table.py outputs/sweeps/mode_coverage
	$(BIN)/gentrain -m sweep=ablate $(ABLATION) 'tricks=$(ABLATED)'
	$(BIN)/gentrain -m $(ABLATION) 'tricks=[]'
	$(BIN)/python scripts/ablation_table.py outputs/sweeps/ablate
	$(BIN)/python scripts/loss_heatmap.py outputs/losses
	$(BIN)/python scripts/likelihood_table.py outputs/likelihood
	$(BIN)/python scripts/doctor_trial.py --out docs/doctor.md

docs: setup
	$(BIN)/python scripts/departures.py
	$(BIN)/python scripts/scaling.py
	$(MAKE) site

site: setup .venv/.docs
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

.venv/.docs: .venv/.stamp
	@if command -v uv >/dev/null; then \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[docs]'; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			-c constraints.txt -e '.[docs]'; \
	fi
	@touch $@

gallery: setup
	$(BIN)/python scripts/gallery.py outputs/gallery

notebooks: setup
	$(BIN)/python scripts/notebooks.py

demos: setup
	$(BIN)/python scripts/demos.py

gpu: setup
	scripts/on_gpu.sh $(BIN)/python

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
