"""Many runs, on this machine or on a Dask cluster: places them, follows them, and keeps what they leave.

The client's folder is what counts: a run that is finished there is not repeated, one that has a checkpoint there goes
on from it, on whatever worker. Dask says which workers there are and carries calls and files; what happens on a worker
is in `experiments/common/worker.py`. Workers that do not see the client's folder send runs' files while they train, and
all of them when they end.
"""

import contextlib
import fcntl
import itertools
import logging
import os
import queue
import shutil
import sys
import time
import uuid
from collections import Counter, deque, namedtuple
from dataclasses import dataclass, field

from tabulate import tabulate

from experiments.common import worker
from utils import files, runs, tables
from utils.errors import UserError
from utils.flags import positive
from utils.interruption import Interruption
from utils.page.records import Record

__all__ = ["Job", "Cluster", "Sweep", "add_flags", "cluster", "missing", "plan", "train"]

#: Seconds between looks at who is there, between questions to workers about their runs, between tables where the output
#: is no terminal, and until an address that does not answer counts as silent.
LOOK, FOLLOW, TABLE_EVERY, PATIENCE = 2, 10, 60, 10
#: How often a run may lose its worker without an epoch in between.
MOST_LOSSES = 10
#: Seconds, at most, until a training's first epoch begins.
COMPILATION = 60
#: Rows of the plan, and runs whose progress is shown; checkpoints that are fetched at a time.
SHOWN, FETCHED = 20, 4


class Job(namedtuple("Job", "name command dataset variant epochs epoch_seconds pretrain starts_from",
                     defaults=((), ()))):
    """A run.

    `name` : of its folder; `command` : script, relative to the project, and flags without --output and --resume;
    `dataset`, `variant` : as `data.load` takes them; `epoch_seconds` : on one core, roughly, or None; `pretrain` : the
    methods that come first; `starts_from` : paths of other runs that it needs
    """

    __slots__ = ()

    @property
    def folders(self):
        """Its folder and those of its pretraining."""
        return list(itertools.accumulate([self.name, *self.pretrain], "{}-{}".format))

    def seconds(self, done=0):
        """How long it takes on one core after so many epochs, roughly; None if nothing is known."""
        if self.epoch_seconds is None:
            return None
        return (self.epochs - done) * self.epoch_seconds + (COMPILATION if not done else 0)


class Cluster(namedtuple("Cluster", "scheduler at_once cores resources")):
    """Where runs are trained.

    `scheduler` : address or scheduler file of a Dask cluster, or None for this machine; `at_once` : how many runs side
    by side on this machine; `cores` : threads of a run; `resources` : of Dask that a run takes, {name: number}
    """

    __slots__ = ()

    def open(self):
        """A Dask client; OSError or ValueError if no scheduler answers."""
        import distributed      # not for tables alone: it takes a second
        # What goes wrong with a connection, this module says itself.
        for name in list(logging.root.manager.loggerDict):
            if name.partition(".")[0] == "distributed":
                logging.getLogger(name).setLevel(logging.CRITICAL)
        if self.scheduler is None:
            # In this process, reached through memory; what listens for HTTP all the same is on loopback.
            local = distributed.LocalCluster(
                n_workers=1, threads_per_worker=self.at_once * self.cores, processes=False, memory_limit=0,
                dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0",
                resources={name: number * self.at_once for name, number in self.resources.items()} or None)
            client = distributed.Client(local)
            client.own_cluster = local
            return client
        if os.path.exists(self.scheduler):
            return distributed.Client(scheduler_file=self.scheduler, timeout=PATIENCE)
        return distributed.Client(self.scheduler, timeout=PATIENCE)

    def slots(self, info):
        """How many runs a worker trains side by side, by what the scheduler says of it."""
        return min([info["nthreads"] // self.cores,
                    *(int(info["resources"].get(name, 0) // number) for name, number in self.resources.items())])


def add_flags(parser):
    """Offers the flags that say where runs are trained; :func:`train` reads them."""
    add = parser.add_argument
    add("--jobs", type=positive, metavar="N",
        help="how many trainings run side by side on this machine (default: as many as find --cores-per-run; one if "
             "THEANO_FLAGS names a device)")
    add("--cores-per-run", type=positive, metavar="N",
        help="threads of a run (default: OMP_NUM_THREADS; else a run's share of this machine with --jobs, or 1)")
    add("--scheduler", metavar="ADDRESS", help="train on a Dask cluster: tcp://HOST:PORT, tls://HOST:PORT, or a "
                                               "scheduler file (docs/sweeps.md)")
    add("--resources", nargs="+", default=(), metavar="NAME=N", help="what a run takes of the resources that workers "
                                                                     "were started with, such as GPU=1")
    add("--keep", type=positive, default=300, metavar="SECONDS",
        help="how often checkpoints are fetched from workers that do not see this folder (default: 300)")
    add("--send-files", action="store_true",
        help="train in the workers' own folders even if they see this one, because it is on a slow file system")
    add("--no-weights", action="store_true", help="leave weights on workers that do not see this folder")


def cluster(args):
    """The :class:`Cluster` that the flags name."""
    available = len(os.sched_getaffinity(0))
    cores, at_once = args.cores_per_run or int(os.environ.get("OMP_NUM_THREADS") or 0), args.jobs
    if not at_once:
        at_once = 1 if "device=" in os.environ.get("THEANO_FLAGS", "") else max(1, available // (cores or 1))
    if not cores:
        cores = max(1, available // at_once) if args.jobs and not args.scheduler else 1
    resources = {}
    for text in args.resources:
        name, _, number = text.partition("=")
        if not name or not number.isdigit() or not int(number):
            raise UserError(f"--resources {text} is not NAME=N, such as GPU=1")
        resources[name] = int(number)
    return Cluster(args.scheduler, at_once, cores, resources)


def missing(jobs, folder):
    """Those that are not finished, the longest first."""
    return sorted((job for job in jobs if not runs.is_finished(os.path.join(folder, job.name))),
                  key=lambda job: -(job.seconds() or 0))


def train(jobs, folder, args):
    """Trains those jobs that are not finished, with the flags of :func:`add_flags`; prints what becomes of each.

    Raises
    ------
    UserError
        if a data set or a run to start from is missing, no scheduler answers, or runs failed (after the others have
        ended).
    SystemExit
        if the user stopped it.
    """
    where, todo = cluster(args), missing(jobs, folder)
    if not todo:
        print("Nothing is missing.\n")
        return
    for path in {path for job in todo for path in job.starts_from}:
        if where.scheduler is None and not os.path.exists(path):
            raise UserError(f"there is no {path}: name the folder of a finished run")
    print(plan(todo, where) + "\n", flush=True)
    if where.scheduler is None:
        import data
        for job in {(job.dataset, job.variant): job for job in todo}.values():
            data.fetch(job.dataset, args.data_dir, job.variant)     # downloads it once, or fails now
    Sweep(todo, folder, where, args.data_dir, args.send_files, not args.no_weights, args.keep).run()


def plan(jobs, where):
    """The text that says what is going to be run, and how long it may take."""
    rows = [(job.name, job.epochs, "?" if job.seconds() is None else duration(job.seconds())) for job in jobs[:SHOWN]]
    text = tabulate(rows, ("To be run", "Epochs", "Time, one core"))
    if len(jobs) > SHOWN:
        text += f"\n... and {len(jobs) - SHOWN} more"
    known = [job.seconds() for job in jobs if job.seconds() is not None]
    if len(known) < len(jobs):
        time_ = "no finished run says yet how long"
    elif where.scheduler is None:
        time_ = f"about {duration(max(max(known), sum(known) / where.at_once))}"
    else:
        time_ = f"about {duration(sum(known))} of one core, divided by the runs that the cluster trains side by side"
    at_once = f"{min(where.at_once, len(jobs))} at a time" if where.scheduler is None else f"by {where.scheduler}"
    return (f"{text}\n{len(jobs)} runs, {at_once}: {time_}. Ctrl-C stops; the same command goes on. How far a run is "
            "stands in its log.txt.")


def duration(seconds):
    """Seconds as text: seconds, minutes, hours or days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 6000 else f"{minutes / 1440:.0f} d"


class Sweep:
    """Trains jobs, each once.

    Parameters
    ----------
    jobs : list of :class:`Job`
        not finished ones
    folder : str
        where the runs' folders are
    where : :class:`Cluster`
    data_dir : str or None
        where data sets are, here and on the workers
    send : bool
        whether workers train in folders of their own even if they see this one
    weights : bool
        whether weights come back from workers that do not see the folder
    keep : float
        seconds between checkpoints of theirs

    Attributes
    ----------
    failures : dict
        name of a run -> what went wrong
    """

    def __init__(self, jobs, folder, where, data_dir=None, send=False, weights=True, keep=300):
        self.failures = {}
        self._jobs, self._folder, self._where, self._data_dir = jobs, os.path.abspath(folder), where, data_dir
        self._send, self._weights, self._keep = send, weights, keep
        self._waiting, self._running, self._done = deque(jobs), {}, queue.SimpleQueue()
        self._workers, self._refused, self._losses = {}, set(), Counter()
        self._client, self._id, self._connected, self._answered = None, None, False, True
        self._display, self._rates = _Display(), {}

    def run(self):
        """Trains.

        Raises
        ------
        UserError
            if runs failed, after the others have ended; if no scheduler answers at first, or another sweep is going on
            in the folder.
        SystemExit
            if the user stopped it.
        """
        self._expected, look, follow, heard = worker.describe(), 0, 0, False
        with _only_sweep(self._folder) as self._token, Interruption(self._told_to_stop) as stop:
            try:
                while (self._running or self._waiting and not stop.asked) and stop.asked < 2:
                    if time.monotonic() >= look or stop.asked and not heard:
                        if stop.asked:
                            # Again and again, for a run that had not started yet when it came.
                            heard = True
                            self._call("stop", self._workers, self._id)
                        self._look()
                        if time.monotonic() >= follow:
                            self._follow()
                            follow = time.monotonic() + min(FOLLOW, self._keep)
                        self._show()
                        look = time.monotonic() + LOOK
                    if not stop.asked:
                        self._place()
                    self._collect(max(0.05, look - time.monotonic()) if self._running else 0.2)
            finally:
                self._display.clear()
                if stop.asked != 1:
                    self._call("stop", self._workers, self._id, True)
                self._close()
        if stop.asked:
            left = len(missing(self._jobs, self._folder))
            print(f"Stopped; {len(self._jobs) - left} of {len(self._jobs)} runs are finished. The same command goes "
                  "on.")
            raise SystemExit(130)
        if self.failures:
            raise UserError(f"{len(self.failures)} of {len(self._jobs)} runs failed, with the lines above: "
                            f"{', '.join(self.failures)}; the same command tries them again")

    def _told_to_stop(self, asked):
        if asked == 1:
            self._display.line("Stopping after the epochs that go on; Ctrl-C again stops at once and loses them.")

    # Workers

    def _look(self):
        """Connects where there is no connection; takes in workers that came, gives up those that went."""
        if self._client is None or self._client.status != "running":
            self._connect()
        try:
            present = self._client.scheduler_info()["workers"] if self._client else {}
        except (OSError, KeyError):
            return
        for address in set(self._workers) - set(present):
            self._display.line(f"worker {address} is gone")
            del self._workers[address]
            for key in [key for key, run in self._running.items() if run.address == address]:
                self._lose(key)
        self._refused = {address for address in self._refused if address in present}
        new = {address: info for address, info in present.items() if address not in {*self._workers, *self._refused}}
        if new:
            self._admit(new)

    def _admit(self, new):
        local = self._where.scheduler is None
        datasets = [] if local else sorted({(job.dataset, job.variant) for job in self._jobs}, key=str)
        paths = sorted({path for job in self._jobs for path in job.starts_from})
        answers = self._call("check", new, self._id, self._folder, self._expected, datasets, self._data_dir, paths)
        for address, answer in answers.items():
            if isinstance(answer, OSError):
                continue        # it went meanwhile, or is asked again
            info, slots = new[address], self._where.slots(new[address])
            problem, shared = answer if isinstance(answer, tuple) else (_told(answer), False)
            if not problem and not slots:
                problem = (f"it has {info['nthreads']} threads and the resources {info['resources'] or 'none'}; a run "
                           f"takes {self._where.cores} threads and {self._where.resources or 'none'}")
            if problem and local:
                raise UserError(problem)
            if problem:
                self._refused.add(address)
                self._display.line(f"worker {address} is left out: {problem}")
                continue
            shared = shared and not self._send
            self._workers[address] = _Worker(shared, slots)
            if not local:
                self._display.line(f"worker {address}: {slots} runs at a time, "
                                   f"{'sees this folder' if shared else 'sends files'}")

    def _connect(self):
        for key in list(self._running):
            self._lose(key, blame=False)
        self._workers, self._refused = {}, set()
        self._close()
        # By another word in the token, workers know that what they train for an earlier connection is not waited for.
        self._id = (f"{os.uname().nodename}:{self._folder}", uuid.uuid4().hex)
        self._token.truncate(0)
        self._token.write(self._id[1])
        self._token.flush()
        try:
            self._client = self._where.open()
        except (OSError, ValueError, TypeError) as error:     # of TLS without its settings, Dask raises TypeError
            if not self._connected:
                raise UserError(f"no Dask scheduler answers at {self._where.scheduler} ({' '.join(str(error).split())})"
                                ": start one with python -m dask scheduler, or give its address (docs/sweeps.md)"
                                ) from None
            if self._answered:
                self._display.line(f"the scheduler {self._where.scheduler} does not answer: waiting; Ctrl-C stops")
            self._answered = False
        else:
            if self._connected:
                self._display.line(f"connected with {self._where.scheduler} again")
            self._connected = self._answered = True

    def _close(self):
        client, self._client = self._client, None
        if client:
            with contextlib.suppress(Exception):
                client.close(timeout=PATIENCE)
                if self._where.scheduler is None:
                    client.own_cluster.close()

    def _call(self, function, addresses, *arguments):
        """What a function of `worker` answers at workers: {address: answer or exception}."""
        if not self._client or not addresses:
            return {}
        try:
            return self._client.run(_asked, function, *arguments, workers=list(addresses), on_error="return")
        except Exception:       # whatever ends a connection: the next look finds out who is gone
            return {}

    # Runs

    def _place(self):
        """Gives waiting runs to workers that have room."""
        free = {address: found.slots for address, found in self._workers.items()}
        for run in self._running.values():
            free[run.address] -= 1
        while self._waiting and free and max(free.values()) > 0:
            address = max(free, key=free.get)
            job = self._waiting.popleft()
            try:
                self._start(job, address)
                free[address] -= 1
            except UserError as error:
                self._fail(job, str(error))
            except Exception:   # of the connection
                self._waiting.appendleft(job)
                del free[address]

    def _start(self, job, address):
        folder, stored = (self._folder if self._workers[address].shared else None), None
        if not folder and any(runs.holds_run(os.path.join(self._folder, own)) for own in job.folders):
            stored, = self._client.scatter([worker.pack(self._folder, job.folders)], workers=[address], hash=False)
        command = [*job.command, *(["--data-dir", self._data_dir] if self._data_dir else [])]
        future = self._submit(address, job.name, command, self._where.cores, folder, stored, job.folders, self._weights)
        self._running[future.key] = _Running(job, address, future, self._epochs(job))
        future.add_done_callback(self._done.put)

    def _submit(self, address, name, *arguments):
        return self._client.submit(
            _task, "work", self._id, name, *arguments, key=f"{name}-{uuid.uuid4().hex[:8]}", workers=[address],
            allow_other_workers=False, pure=False, resources=self._where.resources or None)

    def _collect(self, seconds):
        """Takes what has ended, and waits for it up to so many seconds."""
        with contextlib.suppress(queue.Empty):
            ended = [self._done.get(timeout=seconds)]
            with contextlib.suppress(queue.Empty):
                while True:
                    ended.append(self._done.get_nowait())
            for future in ended:
                if future.key in self._running:
                    self._take(future)

    def _take(self, future):
        import distributed
        try:
            outcome = future.result(timeout=PATIENCE if future.status != "finished" else None)
        except (distributed.CancelledError, distributed.KilledWorker, OSError):
            return self._lose(future.key)
        except Exception as error:
            return self._fail(self._running.pop(future.key).job, _told(error))
        job = self._running.pop(future.key).job
        try:
            self._store(job, outcome)
        except UserError as error:
            return self._fail(job, str(error))
        if outcome["state"] == "failed":
            self._fail(job, outcome["line"], outcome["seconds"])
        elif outcome["state"] == "finished":
            self._display.line(f"{job.name}: done in {duration(outcome['seconds'])}")
        else:
            self._waiting.appendleft(job)

    def _store(self, job, outcome):
        """Writes the files that came back, and removes those of the way that a finished run does not keep."""
        if outcome["files"]:
            worker.unpack(outcome["files"], self._folder, job.folders)
            if outcome["state"] == "finished":
                kept = worker.pack(self._folder, job.folders, True, self._weights, names_only=True)
                for path in set(worker.pack(self._folder, job.folders, names_only=True)) - set(kept):
                    os.unlink(os.path.join(self._folder, path))

    def _fail(self, job, line, seconds=None):
        self.failures[job.name] = line
        after = "" if seconds is None else f" after {duration(seconds)}"
        self._display.line(f"{job.name}: failed{after}: {line}")

    def _lose(self, key, blame=True):
        """Puts a run back whose worker or connection is lost."""
        run = self._running.pop(key)
        with contextlib.suppress(Exception):
            run.future.cancel()
        epochs = self._epochs(run.job)
        if epochs > run.epochs:
            self._losses[run.job.name] = 0
        self._losses[run.job.name] += blame
        if self._losses[run.job.name] > MOST_LOSSES:
            return self._fail(run.job, f"it lost its worker {MOST_LOSSES + 1} times without an epoch in between")
        self._display.line(f"{run.job.name}: lost its worker; goes on from its last checkpoint here, if there is one")
        self._waiting.appendleft(run.job)

    def _follow(self):
        """Fetches what is new of runs whose workers do not see the folder; tells all workers that somebody listens."""
        apart = {run.job.name: run for run in self._running.values() if not self._workers[run.address].shared}
        due = sorted((run for run in apart.values() if time.monotonic() - run.kept >= self._keep),
                     key=lambda run: run.kept)[:FETCHED]
        answers = self._call("follow", {run.address for run in self._running.values()}, self._id,
                             {name: (run.job.folders, run.stamps) for name, run in apart.items()},
                             [run.job.name for run in due])
        for run in due:
            run.kept = time.monotonic()
        for answer in answers.values():
            for name, changed in (answer.items() if isinstance(answer, dict) else ()):
                try:
                    worker.unpack({path: content for path, (_, content) in changed.items()}, self._folder,
                                  apart[name].job.folders)
                except UserError as error:
                    self._display.line(f"{name}: {error}")
                apart[name].stamps.update((path, stamp) for path, (stamp, _) in changed.items())

    def _epochs(self, job):
        """How many epochs of a run this folder knows of."""
        with contextlib.suppress(OSError), open(os.path.join(self._folder, job.name, "history.csv")) as file:
            return max(0, sum(1 for _ in file) - 1)
        return 0

    # What the user sees

    def _show(self):
        rows = []
        for run in list(self._running.values())[:SHOWN]:
            row = self._row(run.job)
            cells = ("starts", "", "")
            if row.get("done"):
                self._rates[run.job.name] = row["seconds"] / row["done"]
                cells = (f"{row['done']}/{row['epochs']}", f"{row['error']:.2f}",
                         tables.format_compression(row["compression"]) if row["compression"] else "")
            rows.append((run.job.name, *cells))
        text = tabulate(rows, ("Training", "Epoch", "Error %", "Compression"), disable_numparse=True) if rows else ""
        left = len(self._waiting) + len(self._running)
        counts = {"finished": len(self._jobs) - left - len(self.failures), "training": len(self._running),
                  "waiting": len(self._waiting), "failed": len(self.failures)}
        summary = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        if len(self._running) > SHOWN:
            text += f"\n... and {len(self._running) - SHOWN} more"
        self._display.table(f"{text}\n{len(self._jobs)} runs: {summary}{self._remaining()}".strip())

    def _row(self, job):
        """What the results page would show of a run."""
        folder = os.path.join(self._folder, job.name)
        with contextlib.suppress(UserError):
            return Record(folder).row if runs.holds_run(folder) else {}
        return {}

    def _remaining(self):
        slots = sum(found.slots for found in self._workers.values())
        if not slots:
            return "; no worker is there"
        left = [(job, job.epochs) for job in self._waiting]
        left += [(run.job, run.job.epochs - self._epochs(run.job)) for run in self._running.values()]
        if not left:
            return ""
        usual = sum(self._rates.values()) / len(self._rates) if self._rates else None
        seconds = [(self._rates.get(job.name) or job.epoch_seconds or usual or 0) * epochs for job, epochs in left]
        return f"; about {duration(max(max(seconds), sum(seconds) / slots))} left" if all(seconds) else ""


@dataclass
class _Worker:
    """One that trains for this sweep: whether it sees the client's folder, and how many runs at a time."""

    shared: bool
    slots: int


@dataclass
class _Running:
    """A job at a worker: the epochs that were completed before; what the client has of its files, and since when."""

    job: Job
    address: str
    future: object
    epochs: int
    stamps: dict = field(default_factory=dict)
    kept: float = field(default_factory=time.monotonic)


def _task(function, *arguments):
    from importlib import import_module
    return getattr(import_module("experiments.common.worker"), function)(*arguments)


async def _asked(function, *arguments):
    import asyncio
    from importlib import import_module
    return await asyncio.to_thread(getattr(import_module("experiments.common.worker"), function), *arguments)


# So they are pickled by value: a scheduler reads its tasks, and need not have the project.
_task.__module__ = _asked.__module__ = "__main__"


def _told(error):
    """An exception of a worker as a line."""
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] == "experiments":
        return ("it does not find the project: start it in the project's folder, by python -m dask worker, or with "
                "PYTHONPATH")
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def _only_sweep(folder):
    """The open file of the client's token; no second sweep may have it."""
    path = os.path.join(folder, worker.TOKEN)
    with files.writing(path):
        os.makedirs(folder, exist_ok=True)
        file = open(path, "a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another sweep is going on in {folder}: wait for it, or name another folder") from None
        yield file


class _Display:
    """Lines that stay, and below them a table that is renewed; where the output is no terminal, now and then."""

    def __init__(self):
        self._lines, self._next = 0, time.monotonic() + TABLE_EVERY

    def line(self, text):
        self.clear()
        print(text, flush=True)

    def table(self, text):
        if sys.stdout.isatty():
            self.clear()
            width, height = shutil.get_terminal_size()
            lines = [line[:width - 1] for line in text.splitlines()][-(height - 1):]
            self._lines = len(lines)
            print("\n".join(lines), flush=True)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + TABLE_EVERY
            print(text + "\n", flush=True)

    def clear(self):
        if self._lines:
            print(f"\x1b[{self._lines}A\x1b[J", end="", flush=True)
            self._lines = 0
