# make demo   train LeNet-300-100 on a data set that needs no download, and print the result table
# make test   run the tests
# Both install what they need into .venv the first time.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv

.PHONY: demo test clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/installed
	$(VENV)/bin/python experiments/lenet_300_100.py --dataset digits --batch-size 50

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest tests

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
