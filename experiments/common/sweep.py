"""Trains many runs: places them, follows them, and keeps what they leave.

The client's folder is what counts: a run that is finished there is not repeated, one that has a checkpoint there goes
on from it, on whatever worker (`experiments/common/cluster.py`). Workers that do not see the client's folder send runs'
files while they train, and all of them when they end.
"""

import contextlib
import fcntl
import os
import queue
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from tabulate import tabulate

from experiments.common import cluster, worker
from experiments.common.jobs import SHOWN, Job, duration, missing, plan
from utils import files, runs, tables
from utils.display import Display
from utils.errors import UserError
from utils.interruption import Interruption
from utils.page.records import Record

__all__ = ["Sweep", "train"]

#: Seconds between looks at who is there, and between questions to workers about their runs.
LOOK, FOLLOW = 2, 10
#: How often a run may lose its worker without an epoch in between.
MOST_LOSSES = 10
#: Checkpoints that are fetched at a time.
FETCHED = 4


def train(jobs, folder, args):
    """Trains those jobs that are not finished; prints what becomes of each.

    Parameters
    ----------
    jobs : list of :class:`experiments.common.jobs.Job`
    folder : str
        where the runs' folders are
    args : argparse.Namespace
        with the flags of :func:`experiments.common.cluster.add_flags`, and `data_dir`

    Raises
    ------
    UserError
        if a data set or a run to start from is missing, no scheduler answers, or runs failed (after the others have
        ended).
    SystemExit
        if the user stopped it.
    """
    where, todo = cluster.from_flags(args), missing(jobs, folder)
    if not todo:
        print("Nothing is missing.\n")
        return
    for path in {path for job in todo for path in job.starts_from}:
        if where.scheduler is None and not os.path.exists(path):
            raise UserError(f"there is no {path}: name the folder of a finished run")
    print(plan(todo, where) + " Ctrl-C stops; the same command goes on. Each run's log.txt says how far it is.\n",
          flush=True)
    if where.scheduler is None:
        import data
        for job in {(job.dataset, job.variant): job for job in todo}.values():
            data.fetch(job.dataset, args.data_dir, job.variant)     # downloads it once, or fails now
    Sweep(todo, folder, where, args.data_dir, args.send_files, not args.no_weights, args.keep).run()


class Sweep:
    """Trains jobs, each once.

    Parameters
    ----------
    jobs : list of :class:`experiments.common.jobs.Job`
        not finished ones
    folder : str
        where the runs' folders are
    where : :class:`experiments.common.cluster.Cluster`
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
        self._send, self._weights, self._keep, self._workers = send, weights, keep, None
        self._waiting, self._running, self._done = deque(jobs), {}, queue.SimpleQueue()
        self._losses, self._display, self._rates = Counter(), Display(), {}

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
        look, follow, heard = 0, 0, False
        with _only_sweep(self._folder) as token, Interruption(self._told_to_stop) as stop:
            self._workers = cluster.Workers(self._where, self._folder, token, self._needs(), self._send,
                                            self._display.line)
            try:
                while (self._running or self._waiting and not stop.asked) and stop.asked < 2:
                    if time.monotonic() >= look or stop.asked and not heard:
                        if stop.asked:
                            # Again and again, for a run that had not started yet when it came.
                            heard = True
                            self._workers.call("stop", self._workers.present)
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
                    self._workers.call("stop", self._workers.present, True)
                self._workers.close()
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

    def _needs(self):
        """What workers must have: data sets (here, :func:`train` has fetched them), their folder, other runs."""
        datasets = {(job.dataset, job.variant) for job in self._jobs} if self._where.scheduler else ()
        paths = {path for job in self._jobs for path in job.starts_from}
        return sorted(datasets, key=str), self._data_dir, sorted(paths)

    # Runs

    def _look(self):
        """Connects where there is no connection; gives up the runs of workers that went."""
        if not self._workers.connected:
            for key in list(self._running):
                self._lose(key, blame=False)
            self._workers.connect()
        for address in self._workers.look():
            for key in [key for key, run in self._running.items() if run.address == address]:
                self._lose(key)

    def _place(self):
        """Gives waiting runs to workers that have room."""
        free = {address: found.slots for address, found in self._workers.present.items()}
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
        folder, stored = (self._folder if self._workers.present[address].shared else None), None
        if not folder and any(runs.holds_run(os.path.join(self._folder, own)) for own in job.folders):
            stored = self._workers.send(address, worker.pack(self._folder, job.folders))
        command = [*job.command, *(["--data-dir", self._data_dir] if self._data_dir else [])]
        future = self._workers.submit(address, job.name, command, self._where.cores, folder, stored, job.folders,
                                      self._weights)
        self._running[future.key] = _Running(job, address, future, self._epochs(job))
        future.add_done_callback(self._done.put)

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
            outcome = future.result(timeout=cluster.PATIENCE if future.status != "finished" else None)
        except (distributed.CancelledError, distributed.KilledWorker, OSError):
            return self._lose(future.key)
        except Exception as error:
            return self._fail(self._running.pop(future.key).job, cluster.told(error))
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
        apart = {run.job.name: run for run in self._running.values() if not self._workers.present[run.address].shared}
        due = sorted((run for run in apart.values() if time.monotonic() - run.kept >= self._keep),
                     key=lambda run: run.kept)[:FETCHED]
        answers = self._workers.call("follow", {run.address for run in self._running.values()},
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
        """How many epochs of a run and its pretraining this folder knows of."""
        found = 0
        for name in job.folders:
            with contextlib.suppress(OSError), open(os.path.join(self._folder, name, "history.csv")) as file:
                found += max(0, sum(1 for _ in file) - 1)
        return found

    # What the user sees

    def _show(self):
        rows = []
        for run in list(self._running.values())[:SHOWN]:
            stage, row = self._row(run.job)
            cells = ("starts", "", "")
            if row:
                self._rates[run.job.name] = row["seconds"] / row["done"]
                cells = (f"{row['done']}/{row['epochs']}{stage}", f"{row['error']:.2f}",
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
        """Of a run's last stage that has an epoch, its name and what the results page would show of it."""
        for name in job.folders:
            folder = os.path.join(self._folder, name)
            with contextlib.suppress(UserError):
                row = Record(folder).row if runs.holds_run(folder) else {}
                if row.get("done"):
                    return "" if name == job.name else f" of {row['method']}", row
        return "", {}

    def _remaining(self):
        slots = sum(found.slots for found in self._workers.present.values())
        if not slots:
            return "; no worker is there"
        left = [(job, job.all_epochs) for job in self._waiting]
        left += [(run.job, run.job.all_epochs - self._epochs(run.job)) for run in self._running.values()]
        if not left:
            return ""
        usual = sum(self._rates.values()) / len(self._rates) if self._rates else None
        seconds = [(self._rates.get(job.name) or job.epoch_seconds or usual or 0) * epochs for job, epochs in left]
        return f"; about {duration(max(max(seconds), sum(seconds) / slots))} left" if all(seconds) else ""


@dataclass
class _Running:
    """A job at a worker: the epochs that were completed before; what the client has of its files, and since when."""

    job: Job
    address: str
    future: object
    epochs: int
    stamps: dict = field(default_factory=dict)
    kept: float = field(default_factory=time.monotonic)


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
