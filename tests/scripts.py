"""Scripts of experiments/, started as a user starts them.

`run` takes a copy (fork) of a process that has imported what scripts import, which takes them seconds; all else is as
in a process of its own.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from unittest import mock

__all__ = ["ROOT", "command", "run"]

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FOLDER = os.path.join(ROOT, "experiments")
#: What it has imported; not more than this, or a test could miss that a script forgot an import.
_PRELOAD = ["scripts", "_setup", "nets", "shared_compilation", "experiments.common.cli",
            "experiments.common.experiment", "sklearn.datasets"]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_PRELOAD)


def command(name, *flags):
    """The command that runs experiments/<name>.py."""
    return [sys.executable, os.path.join(_FOLDER, f"{name}.py"), *map(str, flags)]


def run(name, *flags, cwd, timeout=600, **environment):
    """Runs experiments/<name>.py in the folder `cwd`; a :class:`subprocess.CompletedProcess` with its output as text.

    With an `environment`, it is a process of its own: Theano and OpenMP read their variables once.
    """
    if environment:
        return subprocess.run(command(name, *flags), cwd=cwd, timeout=timeout, capture_output=True, text=True,
                              env={**os.environ, **environment})
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, stream) for stream in ("stdout", "stderr")]
        # The server, started with the first process, has to find the modules.
        with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join([os.path.dirname(__file__), ROOT, _FOLDER])):
            process = _context.Process(target=_run_here, args=(command(name, *flags)[1:], str(cwd), paths))
            process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(name, timeout)
        output = []
        for path in paths:
            with open(path, encoding="utf-8") as file:
                output.append(file.read())
    return subprocess.CompletedProcess([name, *flags], process.exitcode, *output)


def _run_here(arguments, cwd, paths):
    for number, path in enumerate(paths, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    sys.argv, sys.path[0] = arguments, _FOLDER
    status = 0
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
