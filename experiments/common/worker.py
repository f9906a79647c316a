"""What a sweep does on a Dask worker: looks whether it fits, trains runs in processes of their own, hands out files.

`experiments/common/cluster.py` calls these functions from the client. Without Theano, which only the trainings import.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from utils import files, runs
from utils.errors import UserError

__all__ = ["check", "describe", "work", "follow", "stop", "last_line", "pack", "unpack", "TOKEN"]

#: The file of the client's folder by which a worker knows that it sees the same folder.
TOKEN = ".sweep"
#: Seconds without a word of the client after which its runs are ended.
LEASE = 300
#: What the display and the results page need of a run; the rest is sent less often.
LIGHT = ("config.json", "history.csv", "log.txt")
MOST_BYTES, MOST_FILES = 8 << 30, 10_000
_PATH = re.compile(r"[\w=,+-][\w.=,+-]*(/[\w=,+-][\w.=,+-]*){1,2}", re.ASCII)
_SOURCES = ("utils", "nets", "data", "experiments")
# Ends with its parent, whatever ends that: a training that nobody waits for would hold the run's folder.
_TIED = ("import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
         "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])")
_PRESENT = ("import json, sys; sys.path.insert(0, sys.argv[1]); import data\n"
            "for name, variant in json.loads(sys.argv[2]): data.fetch(name, json.loads(sys.argv[3]), "
            "variant)")
_trainings = {}


class _Training:
    """A run that goes on in a process of this worker."""

    def __init__(self, sweep, process, place):
        self.sweep, self.process, self.place = sweep, process, place
        self.contact, self.stopped = time.monotonic(), False

    def end(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.stopped = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def describe():
    """What has to be the same at the client and at its workers: {title: value}; of source files {path: hash}."""
    versions = {name: importlib.metadata.version(name) for name in ("Theano", "Lasagne", "numpy", "scipy")}
    sources = {}
    for top in _SOURCES:
        for folder, _, names in os.walk(os.path.join(runs.PROJECT, top)):
            for name in names:
                if name.endswith((".py", ".cpp", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, "rb") as file:
                        sources[os.path.relpath(path, runs.PROJECT)] = hashlib.sha256(file.read()).hexdigest()[:16]
    return {"Python": "%d.%d.%d" % sys.version_info[:3], **versions, "commit": runs.git_commit() or "unknown",
            "sources": sources}


def check(sweep, folder, expected, datasets, data_dir, paths):
    """Whether this worker can train the client's runs; ends what goes on here of a client that was there before.

    Parameters
    ----------
    sweep : tuple of str
        the sweep, and the client's start of it, which `folder` has in its `TOKEN`
    folder : str
        the client's, with the runs' folders
    expected : dict
        what :func:`describe` says at the client
    datasets : list of (name, variant)
        that must be on disk
    data_dir : str or None
        where
    paths : list of str
        other files that must be there

    Returns
    -------
    tuple
        what is in the way, a text, or None; and whether the worker sees the client's folder
    """
    for training in list(_trainings.values()):
        if training.sweep[0] == sweep[0] and training.sweep != sweep:
            training.end()
    problem = _difference(expected, describe()) or _missing(datasets, data_dir, paths)
    with contextlib.suppress(OSError), open(os.path.join(folder, TOKEN)) as file:
        return problem, file.read() == sweep[1]
    return problem, False


def _difference(expected, found):
    for title, value in expected.items():
        if title == "sources":
            paths = {path for path in {*value, *found[title]} if value.get(path) != found[title].get(path)}
            if paths:
                return (f"{min(paths)} differs from the client's ({len(paths)} source files do): bring it to the same "
                        "state, and start it anew")
        elif value != found.get(title):
            return f"it has {title} {found.get(title)}, the client {value}: bring it to the same, and start it anew"
    return None


def _missing(datasets, data_dir, paths):
    for path in paths:
        if not os.path.exists(path):
            return f"it does not see {path}, which runs start from or learn from: put it there"
    if datasets:
        done = subprocess.run([sys.executable, "-c", _PRESENT, runs.PROJECT, json.dumps(datasets),
                               json.dumps(data_dir)], capture_output=True, text=True,
                              env={**os.environ, "SPARSEVD_OFFLINE": "1"})
        if done.returncode:
            return last_line(done.stderr).partition("UserError: ")[2] or last_line(done.stderr)
    return None


def work(sweep, name, command, threads, folder=None, stored=None, folders=(), weights=True):
    """Trains a run in a process of its own, from its last checkpoint if it has one; a task of Dask.

    Parameters
    ----------
    sweep : tuple of str
        as for :func:`check`
    name : str
        the run's folder
    command : list of str
        the script, relative to the project, and its flags without --output and --resume
    threads : int
    folder : str or None
        where the runs' folders are, the client's; None: this worker does not see them, and the files go back
    stored : dict or None
        the run's files up to now, as :func:`pack` gives them, for a worker that does not see them
    folders : sequence of str
        the run's own folder and those of its pretraining
    weights : bool
        whether weights go back too

    Returns
    -------
    dict
        `state`, "finished", "stopped" or "failed"; `line`, what went wrong; `seconds` of the process; `files`
    """
    import distributed
    worker = distributed.get_worker()
    with contextlib.ExitStack() as stack:
        place = folder
        if folder is None:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=worker.local_directory))
            unpack(stored or {}, place, folders)
        output = os.path.join(place, name)
        script, *flags = command
        # A folder with a configuration only was stopped in its first epoch.
        flags += ["--output", output, *(["--resume"] if runs.holds_run(output) else [])]
        errors, began = stack.enter_context(tempfile.TemporaryFile()), time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _TIED, str(os.getpid()), os.path.join(runs.PROJECT, script), *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads),
                 "THEANORC": stack.enter_context(_own_compiled_modules())})
        training = _trainings[sweep, name] = _Training(sweep, process, place)
        try:
            status = _wait(training, worker)
        finally:
            del _trainings[sweep, name]
            training.end()
            process.wait()
        seconds = time.monotonic() - began
        errors.seek(0)
        line = last_line(errors.read().decode(errors="replace"))
        state = "failed"
        if status == 0 and runs.is_finished(output):
            state = "finished"
        elif training.stopped and status in (130, -signal.SIGTERM, -signal.SIGKILL):
            state = "stopped"
        elif status < 0:
            line = f"it was killed by signal {-status}" + (" (out of memory?)" if status == -signal.SIGKILL else "")
        back = {} if folder else pack(place, folders, state == "finished", weights)
        return {"state": state, "line": line or f"exit status {status}", "seconds": seconds, "files": back}


def _wait(training, worker):
    """The process's exit status; ends it if the client is silent or this worker lost its scheduler."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return training.process.wait(timeout=0.5)
        if worker.status.name != "running" or time.monotonic() - training.contact > LEASE:
            training.end()


@contextlib.contextmanager
def _own_compiled_modules():
    """THEANORC by which Theano's compiled modules have a folder that no other run uses meanwhile.

    What the user's own files or THEANO_FLAGS say wins. The folders are kept: the first run that gets one compiles, the
    others do not.
    """
    base = os.path.expanduser("~/.theano")
    with files.writing(base):
        os.makedirs(base, exist_ok=True)
        for number in itertools.count():
            path = os.path.join(base, f"sweep-{number}.theanorc")
            settings = open(path, "a")
            try:
                fcntl.flock(settings, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                settings.close()
        settings.truncate(0)
        settings.write(f"[global]\nbase_compiledir = {os.path.join(base, f'sweep-{number}')}\n")
        settings.flush()
    with settings:
        yield os.pathsep.join([path, os.environ.get("THEANORC", "~/.theanorc")])


def follow(sweep, known, heavy):
    """What changed in the files of runs that go on here; by it, the worker knows that the client is there.

    Parameters
    ----------
    sweep : tuple of str
    known : dict
        {run: (its folders, {path: stamp of what the client has})}, of runs whose folder the client does not see
    heavy : list of str
        the runs of which checkpoints and weights are wanted too

    Returns
    -------
    dict
        {run: {path: (stamp, bytes)}}
    """
    found = {}
    for (owner, name), training in list(_trainings.items()):
        if owner == sweep:
            training.contact = time.monotonic()
            if name in known:
                folders, stamps = known[name]
                found[name] = _changed(training.place, folders, stamps, name in heavy)
    return found


def _changed(place, folders, stamps, heavy):
    changed = {}
    for path in _listed(place, folders):
        # The client takes a run with a summary for finished, whose other files would be missing.
        if (heavy or os.path.basename(path) in LIGHT) and path != os.path.join(folders[0], "summary.json"):
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(place, path))
                stamp = status.st_mtime_ns, status.st_size
                if stamps.get(path) != stamp:
                    changed[path] = stamp, _read(place, path)
    return changed


def stop(sweep, at_once=False):
    """Lets the epochs end that go on here, or does not."""
    for (owner, _), training in list(_trainings.items()):
        if owner == sweep and (at_once or not training.stopped):
            training.end(signal.SIGKILL if at_once else signal.SIGTERM)


def pack(place, folders, finished=False, weights=True, names_only=False):
    """A run's files as {path: bytes}; of a finished run without the checkpoint, and without weights if so asked."""
    left_out = ("checkpoint",) * finished + ("weights",) * (finished and not weights)
    return {path: None if names_only else _read(place, path) for path in _listed(place, folders)
            if not os.path.basename(path).startswith(left_out)}


def unpack(contents, place, folders):
    """Writes a run's files, `summary.json` last: a run that has it is finished.

    Raises
    ------
    UserError
        if a path is none that a run leaves, or it is too much.
    """
    for path in contents:
        if not _PATH.fullmatch(path) or path.split("/")[0] not in folders:
            raise UserError(f"a worker sent a file {path!r}, which is none of the run {folders[0]}")
    if len(contents) > MOST_FILES or sum(map(len, contents.values())) > MOST_BYTES:
        raise UserError(f"a worker sent {len(contents)} files of {sum(map(len, contents.values())) >> 20} MB for the "
                        f"run {folders[0]}, more than any run has")
    for path in sorted(contents, key=lambda path: path.endswith("/summary.json")):
        target = os.path.join(place, path)
        with files.writing(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
        with files.atomic_write(target) as file:
            file.write(contents[path])


def _listed(place, folders):
    """The paths of a run's files, relative to `place`."""
    found = []
    for own in folders:
        for folder, _, names in os.walk(os.path.join(place, own)):
            found += [os.path.relpath(os.path.join(folder, name), place) for name in names
                      if not name.endswith(".part")]
    return sorted(found)


def _read(place, path):
    with open(os.path.join(place, path), "rb") as file:
        return file.read()


def last_line(text):
    """The last line that says something; without the word that announces an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
