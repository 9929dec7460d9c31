# Every target sets up what it needs in $(VENV); `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST ?= .venv-oldest

.DEFAULT_GOAL := help
.PHONY: help install demo demo-video sweep quick test oldest stress check docs format bench frontier zoo teacher hierarchical wheel clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

install: $(READY) ## Make the virtual environment with everything in it

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e ".[dev]"
	touch $(READY)

demo: install ## Sparsify a small transformer on embedded data; table and picture in reports/demo
	$(BIN)/python demo.py

SWEEP := reports/sweep
DIGITS := trainer=cpu callbacks.progress=null datamodule.val_images=500 hydra.sweep.dir=$(SWEEP)
RATIOS := rho=0.9,0.7,0.5,0.3

CLIPS := assets/video_micro_digits.safetensors

$(CLIPS):
	$(BIN)/python assets/make_clips.py

demo-video: install $(CLIPS) ## The same on embedded clips, with run lengths; in reports/demo_video
	$(BIN)/python demo_video.py

sweep: install ## Eight methods at four ratios on embedded data; table, picture and page in reports/sweep
	$(BIN)/python eval.py -m $(DIGITS) $(RATIOS) method=random,attention,evit,attention_absorb,tome,ats,mctf
	$(BIN)/python eval.py -m $(DIGITS) method=dense,structural
	test -f $(SWEEP)/trained/checkpoints/last.ckpt || \
		$(BIN)/python train.py experiment=demo callbacks.progress=null hydra.run.dir=$(SWEEP)/trained ckpt_path=last
	$(BIN)/python eval.py -m $(DIGITS) $(RATIOS) ckpt_path=$(SWEEP)/trained/checkpoints/last.ckpt

quick: install ## Test all but what starts processes, compiles, exports or composes every setting
	$(BIN)/python -m pytest -n auto --dist loadscope -m "not slow"

test: install ## Run all tests, those marked slow too
	$(BIN)/python -m pytest -n auto --dist loadscope

$(OLDEST)/.ready: pyproject.toml constraints/oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --upgrade pip
	$(OLDEST)/bin/python -m pip install -c constraints/oldest.txt -e ".[dev]"
	touch $@

oldest: $(OLDEST)/.ready ## Run the quick tests with the oldest versions that pyproject.toml names
	$(OLDEST)/bin/python -m pytest -n auto --dist loadscope -m "not slow"

stress: install ## Kill and resume a training, train long, train under random settings; many examples
	$(BIN)/python -m tests.stress.kill_loop --kills 6
	$(BIN)/python -m tests.stress.soak --epochs 60
	$(BIN)/python -m tests.stress.fuzz --examples 100
	$(BIN)/python -m pytest --hypothesis-profile=stress tests/test_modules/test_token_mathematics.py

check: install ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install -e ".[docs]"
	touch $@

docs: $(VENV)/.docs ## Build the documentation in site/; a broken link is an error
	$(BIN)/python -m mkdocs build --strict

format: install ## Format the code and sort what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Time sparse against dense on this machine; table in reports/bench
	$(BIN)/python -m src.bench

frontier: install ## Methods beside dense: accuracy, speed, memory on embedded data; page in reports/frontier
	$(BIN)/python -m src.bench.frontier trainer=cpu most=500

zoo: install ## Count the papers' models anew; table in docs/zoo.md
	$(BIN)/python docs/zoo.py

teacher: install ## Rebuild the demo's dense network (assets/vit_micro_digits.safetensors)
	$(BIN)/python assets/make_teacher.py

hierarchical: install ## Rebuild the small ConvNeXt's dense weights (assets/convnext_micro_digits.safetensors)
	$(BIN)/python assets/make_hierarchical.py

wheel: ## Build dist/tokenthrift-*.whl, with no environment but pip
	$(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

clean: ## Remove what the targets made, but not logs and reports
	rm -rf $(VENV) $(OLDEST) dist build site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
