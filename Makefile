# make demo   train LeNet-300-100 on a data set that needs no download, and print the result table
# make test   run the tests
# make gpu    add CUDA's libraries, cuDNN and pygpu to .venv (README, "On a GPU"); a download of 1 GB
# make export add what files of compressed networks, ONNX models and their tests need
# make pygpu  add pygpu alone, for a CUDA of your own or for OpenCL
# All install what they need into .venv the first time.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Debian's, compiled for Python 3.11; it is not on PyPI.
PYGPU ?= /usr/lib/python3/dist-packages/pygpu

.PHONY: demo test gpu pygpu export clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/installed
	$(VENV)/bin/python experiments/lenet_300_100.py --dataset digits --batch-size 50

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest tests

gpu: pygpu
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements-gpu.txt

pygpu: $(VENV)/installed
	@test -e "$(PYGPU)/gpuarray.cpython-311-$$(uname -m)-linux-gnu.so" || \
	  { echo 'error: no pygpu for Python 3.11 in $(PYGPU); Debian 12: apt install python3-pygpu libgpuarray-dev;' \
	    'other systems: README, "On a GPU"'; exit 1; }
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint requirements-gpu.txt Mako
	cp -r "$(PYGPU)" "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"
	$(VENV)/bin/python -c 'import pygpu'

export: $(VENV)/installed
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements-export.txt

$(VENV)/installed: requirements.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "error: Python 3.11 is needed, '$(PYTHON)' is another one; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: '$(PYTHON)' lacks the venv module; on Debian or Ubuntu: apt install python3.11-venv"; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements.txt
	@touch $@

clean:
	rm -rf $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
