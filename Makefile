# make demo: nodules found on phantom scans.  make test: lint, types and the tests but for the slow ones.
# make test-all: the slow ones too.  make docs: the site, in site/.  make clean: as cloned.
# PYTHON=... chooses the interpreter (3.11 or newer).

PYTHON ?= $(shell python3.11 -c '' >/dev/null 2>&1 && echo python3.11 || echo python3)
PIP_OPTIONS = --quiet --disable-pip-version-check --constraint constraints.txt
PACKAGING = setup.cfg setup.py pyproject.toml constraints.txt
export OMP_NUM_THREADS ?= 2
# One process per core, of one thread each, and one more, since some tests wait. A file stays in one process, so that
# what its tests share is made once, and the longest start first (tests/conftest.py).
PROCESSES = $(shell .venv/bin/python -c 'from cxrcad.core import usable_cores; print(min(4, usable_cores() + 1))')
WORKERS = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: demo docs test test-all clean
.DELETE_ON_ERROR:

demo: .venv-demo/installed
	.venv-demo/bin/cxrcad demo

docs: .venv/installed
	.venv/bin/python -m mkdocs build --strict --quiet

test: TESTS = -m 'not slow'
test test-all: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/mypy
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q $(WORKERS) $(TESTS)

# Each environment is made once, and again when what it should hold has changed.
.venv-demo/installed: $(PACKAGING)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install $(PIP_OPTIONS) --editable .
	touch $@

.venv/installed: $(PACKAGING)
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_OPTIONS) --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-demo build dist demo site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cxrcad models tests -name __pycache__ -type d -prune -exec rm -rf {} +
