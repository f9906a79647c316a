# make demo   train LeNet-300-100 on a data set that needs no download, and print the result table
# make test   run the tests
# make lint   run the linter
# make check  run it, and the tests that compile nothing
# make hook   have git run `make check` before each commit
# make notebook  open the method in one sitting, experiments/step_by_step.ipynb, in a browser (adds Jupyter to .venv)
# make gpu    add CUDA's libraries, cuDNN and pygpu to .venv (docs/gpu.md); a download of 1 GB
# make export add what files of compressed networks, ONNX models and their tests need
# make pygpu  add pygpu alone, for a CUDA of your own or for OpenCL
# All install what they need into .venv the first time.

VENV := .venv
# Where a Python 3.11 goes if the system has none; PYTHON names one instead.
PYTHON_FOLDER := .python
# Debian's, compiled for Python 3.11; it is not on PyPI.
PYGPU ?= /usr/lib/python3/dist-packages/pygpu

# What is meant for another Python or another pip: .venv would lack packages, or not be found.
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PIP_PREFIX PIP_ROOT PIP_TARGET
export PIP_REQUIRE_VIRTUALENV := 0
export PIP_USER := 0

.PHONY: help demo test lint check hook notebook export gpu pygpu clean
# Two pips at a time in one .venv would be in each other's way.
.NOTPARALLEL:
# A .venv whose Python is gone, as after an upgrade of the system, is made anew.
ifneq ($(shell test -x $(VENV)/bin/python && echo there),there)
.PHONY: $(VENV)/installed
endif
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/installed
	$(VENV)/bin/python experiments/lenet_300_100.py --dataset digits --batch-size 50

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest --numprocesses logical --dist loadfile

lint: $(VENV)/ruff
	$(VENV)/bin/ruff check .

check: lint
	$(VENV)/bin/python -m pytest -m "not compiles"

$(VENV)/ruff: $(VENV)/installed requirements-dev.txt
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements-dev.txt
	@touch $@

hook:
	printf '#!/bin/sh\nexec make check\n' > "$$(git rev-parse --git-path hooks)/pre-commit"
	chmod +x "$$(git rev-parse --git-path hooks)/pre-commit"

notebook: $(VENV)/notebook
	$(VENV)/bin/python -m notebook experiments/step_by_step.ipynb

$(VENV)/notebook: requirements-notebook.txt $(VENV)/installed
	@echo "Installing requirements-notebook.txt into $(VENV): 240 MB on disk"
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint requirements.txt \
	  --requirement requirements-notebook.txt
	@touch $@

gpu: pygpu
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements-gpu.txt

pygpu: $(VENV)/installed
	@test -e "$(PYGPU)/gpuarray.cpython-311-$$(uname -m)-linux-gnu.so" || \
	  { echo 'error: no pygpu for Python 3.11 in $(PYGPU); Debian 12: apt install python3-pygpu libgpuarray-dev;' \
	    'other systems: docs/gpu.md'; exit 1; }
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint requirements-gpu.txt Mako
	cp -r "$(PYGPU)" "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"
	$(VENV)/bin/python -c 'import pygpu'

export: $(VENV)/installed
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements-export.txt

$(VENV)/installed: requirements.txt
	@python=$$(PYTHON="$(PYTHON)" sh utils/find_python.sh $(PYTHON_FOLDER)) && \
	  echo "Installing requirements.txt into $(VENV) with $$python: a download of 120 MB, 470 MB on disk" && \
	  "$$python" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-compile --requirement requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(PYTHON_FOLDER)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
