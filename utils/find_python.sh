#!/bin/sh
# Prints the path of a Python 3.11 that has venv and its headers: find_python.sh FOLDER
#
# It is $PYTHON if that is set, or one that is on the PATH, or one that uv knows of. Where there is none, uv downloads
# one (python-build-standalone's) to FOLDER; where there is no uv either, that comes from PyPI, to FOLDER too. Nothing
# outside FOLDER changes, unless uv's own variables (UV_PYTHON_INSTALL_DIR, UV_CACHE_DIR) name other places.
# All else that is said goes to the standard error.
set -eu

case $1 in
  /*) folder=$1 ;;
  *) folder=$PWD/$1 ;;
esac
uv_package=uv==0.13.9

say() { echo "$*" >&2; }

fail() {
  say "error: $*"
  exit 1
}

# Prints why a Python cannot be used, and nothing if it can. No syntax that an older Python does not know.
problem() {
  "$1" -c '
import os, sys, sysconfig
if sys.version_info[:2] != (3, 11):
    print("is Python %d.%d" % sys.version_info[:2])
    sys.exit()
try:
    import ensurepip, venv
except ImportError:
    print("lacks the venv module (Debian, Ubuntu: apt install python3.11-venv)")
    sys.exit()
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("lacks its headers (Debian, Ubuntu: apt install python3.11-dev)")
' 2>/dev/null || echo "does not run"
}

# Not the executable of a virtual environment, which is about to be replaced, nor one that stands for others (pyenv).
use() {
  "$1" -c 'import sys; print(sys._base_executable)'
  exit
}

if [ -n "${PYTHON:-}" ]; then
  reason=$(problem "$PYTHON")
  [ -z "$reason" ] && use "$PYTHON"
  fail "Python 3.11 is needed, '$PYTHON' $reason; name another one with: make PYTHON=/path/to/python3.11"
fi

for name in python3.11 python3; do
  if command -v $name >/dev/null; then
    reason=$(problem $name)
    [ -z "$reason" ] && use $name
    say "$(command -v $name) $reason"
  fi
done

uv=$(command -v uv) || uv=
if [ -n "$uv" ]; then
  python=$("$uv" python find --no-python-downloads 3.11 2>/dev/null) && [ -z "$(problem "$python")" ] && use "$python"
fi

export UV_PYTHON_INSTALL_DIR="${UV_PYTHON_INSTALL_DIR:-$folder/versions}" UV_CACHE_DIR="${UV_CACHE_DIR:-$folder/cache}"
# No links in ~/.local/bin; and none of the Pythons that were looked at already.
export UV_PYTHON_INSTALL_BIN="${UV_PYTHON_INSTALL_BIN:-0}" UV_PYTHON_PREFERENCE=only-managed
managed() { "$uv" python find --no-python-downloads 3.11 2>/dev/null; }

other="install Python 3.11 with its headers, or name one with: make PYTHON=/path/to/python3.11"
if [ -z "$uv" ] && "$folder/uv/bin/uv" --version >/dev/null 2>&1; then
  uv=$folder/uv/bin/uv
fi
if [ -n "$uv" ] && python=$(managed) && [ -z "$(problem "$python")" ]; then
  use "$python"
fi
if [ -n "$uv" ]; then
  say "No Python 3.11 with venv and headers here. $uv gets one, a download of about 30 MB, to $UV_PYTHON_INSTALL_DIR"
else
  installer=
  for name in python3 python; do
    if command -v $name >/dev/null && $name -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
      $name -c 'import pip' 2>/dev/null && installer="$name pip" && break
      $name -c 'import ensurepip, venv' 2>/dev/null && installer="$name venv" && break
    fi
  done
  [ -n "$installer" ] || fail "no Python 3.11 with venv and headers, and nothing to get one with: install uv, or a" \
    "Python 3 with venv (Debian, Ubuntu: apt install python3-venv); or $other"
  say "No Python 3.11 with venv and headers here. Getting one to $folder, nothing else changes:"
  say "uv from PyPI, a download of 18 MB, and with it Python 3.11, about 30 MB"
  python=${installer% *}
  if [ "${installer#* }" = venv ]; then
    "$python" -m venv --clear "$folder/installer" >&2
    python=$folder/installer/bin/python
  fi
  "$python" -m pip install --disable-pip-version-check --quiet --no-compile --target "$folder/uv" --upgrade \
    $uv_package >&2 || fail "pip could not get uv, its message is above; $other"
  rm -rf "$folder/installer"
  uv=$folder/uv/bin/uv
fi
"$uv" python install 3.11 >&2 || fail "uv could not get Python 3.11, its message is above; $other"
python=$(managed) || fail "uv does not find the Python 3.11 that it has installed; $other"
reason=$(problem "$python")
[ -z "$reason" ] && use "$python"
fail "the Python 3.11 that uv got, $python, $reason; $other"
