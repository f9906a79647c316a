"""utils/find_python.sh, by itself: programs of the test's own stand for Python, pip and uv."""

import os
import subprocess
import sys

import pytest

from conftest import ROOT

# A Python of version {version}, with pip or without; pip "installs" a uv that "installs" this test's Python.
PYTHON = """#!/bin/sh
case "$*" in
  *version_info?:2*) echo "is Python 3.13" ;;
  *"sys.version_info <"*) exit 0 ;;
  *"import pip"*) exit {pip} ;;
  *"import ensurepip"*) exit 1 ;;
  *--target*) while [ "$1" != --target ]; do shift; done; mkdir -p "$2/bin"; cp "{uv}" "$2/bin/uv" ;;
esac
"""
UV = """#!/bin/sh
echo "$* $UV_PYTHON_INSTALL_DIR $UV_PYTHON_INSTALL_BIN $UV_PYTHON_INSTALL_MIRROR" >> "{log}"
case "$*" in
  *install*) touch "{folder}/got" ;;
  *find*) [ -e "{folder}/got" ] && echo "{python}" ;;
esac
"""


@pytest.fixture
def find(tmp_path):
    """find(pip=0, **environment) -> CompletedProcess, where the PATH has a Python 3.13 and no uv."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("dirname", "mkdir", "cp", "rm", "touch"):
        os.symlink(f"/bin/{name}", programs / name)

    def write(path, text):
        path.write_text(text)
        path.chmod(0o755)

    def find(pip=0, **environment):
        write(tmp_path / "uv", UV.format(log=tmp_path / "log", folder=tmp_path, python=sys.executable))
        write(programs / "python3", PYTHON.format(pip=pip, uv=tmp_path / "uv"))
        return subprocess.run(["/bin/sh", os.path.join(ROOT, "utils", "find_python.sh"), str(tmp_path / "folder")],
                              capture_output=True, text=True, env={"PATH": str(programs), **environment})
    find.programs, find.log = programs, tmp_path / "log"
    return find


def test_the_python_that_is_named_is_taken(find):
    result = find(PYTHON=sys.executable)
    assert result.returncode == 0 and result.stdout.strip() == sys._base_executable


def test_one_that_cannot_be_used_is_answered_in_one_line(find):
    result = find(PYTHON="python3")
    assert result.returncode == 1 and not result.stdout
    assert result.stderr.startswith("error: Python 3.11 is needed, 'python3' is Python 3.13")


def test_one_on_the_path_is_taken(find):
    os.symlink(sys._base_executable, find.programs / "python3.11")
    assert find().stdout.strip() and not find().stderr


def test_uv_gets_one_and_is_fetched_itself_where_it_is_missing(find):
    result = find(UV_PYTHON_INSTALL_MIRROR="file:///mirror")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == sys._base_executable
    assert "18 MB" in result.stderr and "30 MB" in result.stderr
    install, = [line for line in find.log.read_text().splitlines() if line.startswith("python install")]
    # In the folder, without links elsewhere, and what the user says of mirrors stays.
    assert install.split()[2:] == ["3.11", str(find.programs.parent / "folder" / "versions"), "0", "file:///mirror"]


def test_without_pip_and_venv_one_line_says_what_to_install(find):
    result = find(pip=1)
    assert result.returncode == 1
    assert "apt install python3-venv" in result.stderr.splitlines()[-1]
