# `make` lists what there is. Every target sets up .venv first, which is instant once it is there.

PYTHON ?= $(shell test -x .venv/bin/python && echo .venv/bin/python || echo python3)
PORT ?= 8000

BIN := .venv/bin
NOTEBOOKS = $(shell find book notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')

# Programs that start others by name (nbgrader its migrations, Jupyter its subcommands) find ours.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Models this small only lose time to a second thread, and results depend on their number.
export OMP_NUM_THREADS := 1

.PHONY: help environment course test book serve lab release grade test-cuda bench bench-gpu bench-grading mutation notebooks stubs lock clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

environment: ## set up .venv with the exact versions of requirements.txt
	@$(PYTHON) tools/environment.py

course: environment ## build the book, release the assignments, grade the sample class
	@$(BIN)/python tools/book.py
	@$(BIN)/python tools/sample_class.py

test: environment ## run everything that CI runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m course_lib.stubs --check
	$(BIN)/python tools/notebooks.py check $(NOTEBOOKS)
	$(BIN)/python tools/mutation.py --changed
	$(BIN)/python tools/book.py
	$(BIN)/pytest tests/exercises -n auto --dist worksteal
	$(BIN)/pytest tests --ignore tests/exercises -n auto --dist loadscope
	$(BIN)/pytest --nbval book notebooks -n auto --dist loadscope \
		--nbval-sanitize-with nbval_sanitize.cfg

book: environment ## build the book into _build/html
	@$(BIN)/python tools/book.py

serve: book ## show the book at http://localhost:8000 (another port: PORT=8001)
	@$(BIN)/python -m http.server --bind localhost --directory _build/html $(PORT)

lab: environment ## open JupyterLab on the course
	@$(BIN)/jupyter lab

release: environment ## write the students' versions into release/ (one: ASSIGNMENT=optimizers)
	@$(BIN)/python -m grading release $(ASSIGNMENT)

# A submission that cannot be graded must not keep the others' feedback and scores back.
grade: environment ## grade submitted/: scores, feedback, grades.csv (one: ASSIGNMENT=optimizers)
	@$(BIN)/python -m grading autograde $(ASSIGNMENT); graded=$$?; \
	$(BIN)/python -m grading feedback $(ASSIGNMENT) && \
	$(BIN)/python -m grading export $(ASSIGNMENT) && exit $$graded

test-cuda: environment ## run the tests that need a GPU
	$(BIN)/pytest -m cuda tests/exercises

bench: environment ## time the training loop, optimizers, autograd, kernels (half an hour)
	@for subject in loop optimizers autograd kernels; do \
	$(BIN)/python tools/bench_$$subject.py || exit; done

bench-gpu: environment ## time everything that needs a GPU (8 minutes)
	@$(BIN)/python tools/bench_gpu.py

bench-grading: environment ## grade 60 submissions with nbgrader, otter-grader and ours (an hour)
	@$(BIN)/python tools/bench_grading.py

mutation: environment ## grade wrong versions of every reference (one: MODULE=optimizers)
	@$(BIN)/python tools/mutation.py $(MODULE)

notebooks: environment ## execute every notebook again and store its outputs
	@$(BIN)/python tools/notebooks.py execute $(NOTEBOOKS)

stubs: environment ## write course_lib's stubs from solutions/, over what stands there
	@$(BIN)/python -m course_lib.stubs

lock: environment ## write requirements.txt from pyproject.toml (newest: UPGRADE=--upgrade)
	@$(BIN)/uv pip compile --quiet $(UPGRADE) pyproject.toml --output-file requirements.txt

clean: ## remove what was built; .venv and all students' work stay
	rm -rf _build .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
