# Imported first by each experiment: makes the project's folders importable, and ends in one line where Theano cannot be
# set up. No syntax here that an older Python does not know, so that it can say which one is needed.
import os
import sys

# Closed by a shell's >&- or 2>&-.
for _name in ("stdout", "stderr"):
    if getattr(sys, _name) is None:
        setattr(sys, _name, open(os.devnull, "w"))

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if sys.version_info[:2] != (3, 11):
    sys.exit("error: Python 3.11 is needed, this is %d.%d: run the script with python3.11" % sys.version_info[:2])

from utils.errors import UserError  # noqa: E402


def _in_one_line(kind, error, trace):
    if issubclass(kind, UserError):
        sys.stderr.write("error: %s\n" % error)
    elif issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


# Importing `nets` prepares Theano, before a script's `main` begins.
sys.excepthook = _in_one_line
