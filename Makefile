# A thin face over venv, pip, salient-imagenet and pytest. `make demo PYTHON=python3.12 VENV=/tmp/venv` works too.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
STAMP := $(VENV)/.installed

# Else glibc gives the memory of each tensor back to the system and asks for it anew, up to a third of a forward pass.
MALLOC = MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=268435456

.PHONY: demo test lint clean
demo: $(STAMP)
	$(VENV)/bin/salient-imagenet demo --out demo --overwrite

test: $(STAMP)
	OMP_NUM_THREADS=1 $(MALLOC) $(VENV)/bin/python -m pytest -q -n $(JOBS) --dist loadfile

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(STAMP): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
