# make demo   set up and fuse the embedded scene: pictures, COG, STAC item and reports in demo/
# make test   set up and run the tests
# make notebooks   run the notebooks
# make bench-scale   seconds, memory and bytes of whole scenes, into docs/benchmarks/scale.md; resumes
#                    (SIZES=1024x64,2048x224 METHODS=fuse,gem SCHEDULERS=threads,processes,distributed)
# make docs   the documentation site, into docs/_build/html; warnings are errors
# make lint   format, style, types and import direction
# make bench  the whole benchmark (more than an hour; resumes), into docs/benchmarks/; BENCH='--jobs 2 --seeds 5' adds options
# make bench-quick   one scene, under three minutes, into bench-quick/
# make bench-readme  tables and pictures of the results that are there, and the README's table
#
# PYTHON=python3.12 make demo   another interpreter
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo   the small torch, for machines without a GPU

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test notebooks docs lint format bench bench-quick bench-readme bench-scale clean

demo: $(STAMP)
	$(BIN)/geofuse demo -o demo

# One thread: the work is small, and OpenMP threads that wait for each other on busy cores are slower than one.
test notebooks bench bench-quick: export OMP_NUM_THREADS ?= 1

test: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile

notebooks: $(STAMP)
	$(BIN)/pytest -n 2 --nbmake --nbmake-timeout=600 notebooks/*.ipynb

docs: $(STAMP)
	$(BIN)/sphinx-build -c docs -b html -W --keep-going -q . docs/_build/html

SIZES ?= 1024x64,2048x64,4096x64,8192x64,2048x224
METHODS ?= fuse,gem
SCHEDULERS ?= threads

bench-scale: export OMP_NUM_THREADS ?= 1
bench-scale: $(STAMP)
	$(BIN)/python -m benchmarks.scale --sizes $(SIZES) --methods $(METHODS) --schedulers $(SCHEDULERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run $(BENCH)

bench-quick: $(STAMP)
	$(BIN)/python -m benchmarks.run --quick $(BENCH)

bench-readme: $(STAMP)
	$(BIN)/python -m benchmarks.table --readme

clean:
	rm -rf .venv demo bench-quick docs/_build docs/reference/api

# torch first and alone: pip then resolves the rest against the one that is there, and its index is asked for nothing else.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "geofuse needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q torch==2.13.0 -c constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
