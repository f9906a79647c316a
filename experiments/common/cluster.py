"""Where a sweep's runs are trained: this machine or a Dask cluster, and the workers that are there.

Dask says which workers there are and carries calls and files; what happens on a worker is in
`experiments/common/worker.py`.
"""

import contextlib
import logging
import os
import uuid
from collections import namedtuple

from experiments.common import worker
from utils.errors import UserError
from utils.flags import positive

__all__ = ["Cluster", "Workers", "add_flags", "from_flags", "told", "PATIENCE"]

#: Seconds until an address that does not answer counts as silent.
PATIENCE = 10


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
    """Offers the flags that say where runs are trained; :func:`from_flags` and a sweep's `train` read them."""
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


def from_flags(args):
    """The :class:`Cluster` that the flags name."""
    available = len(os.sched_getaffinity(0))
    # Of a list, the first number is that of the outermost level.
    threads = (os.environ.get("OMP_NUM_THREADS") or "0").split(",")[0].strip()
    if not threads.isdecimal():
        raise UserError(f"OMP_NUM_THREADS={threads} is no number of threads: give one, such as 2")
    cores, at_once = args.cores_per_run or int(threads), args.jobs
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


#: One that trains for a sweep: whether it sees the client's folder, and how many runs at a time.
Worker = namedtuple("Worker", "shared slots")


class Workers:
    """The workers that train for a sweep: which are there, and calls to them.

    Parameters
    ----------
    where : Cluster
    folder : str
        the client's, with the runs' folders
    token : file
        the folder's `worker.TOKEN`, open for writing
    needs : tuple
        what must be there, as :func:`experiments.common.worker.check` takes it: data sets, their folder, paths
    send : bool
        whether workers train in folders of their own even if they see the client's
    say : callable(str)
        tells the user which come, go and are left out

    Attributes
    ----------
    present : dict
        {address: :class:`Worker`}
    client : distributed.Client or None
    """

    def __init__(self, where, folder, token, needs, send, say):
        self.present, self.client = {}, None
        self._where, self._folder, self._token, self._needs, self._send, self._say = (
            where, folder, token, needs, send, say)
        self._expected, self._refused = worker.describe(), set()
        self._id, self._ever_connected, self._answered = None, False, True

    @property
    def connected(self):
        return self.client is not None and self.client.status == "running"

    def connect(self):
        """Connects anew; what went on by an earlier connection is lost.

        Raises
        ------
        UserError
            if no scheduler answers, and none has before.
        """
        self.present, self._refused = {}, set()
        self.close()
        # By another word in the token, workers know that what they train for an earlier connection is not waited for.
        self._id = (f"{os.uname().nodename}:{self._folder}", uuid.uuid4().hex)
        self._token.truncate(0)
        self._token.write(self._id[1])
        self._token.flush()
        try:
            self.client = self._where.open()
        except (OSError, ValueError, TypeError) as error:     # of TLS without its settings, Dask raises TypeError
            if not self._ever_connected:
                raise UserError(f"no Dask scheduler answers at {self._where.scheduler} ({' '.join(str(error).split())})"
                                ": start one with python -m dask scheduler, or give its address (docs/sweeps.md)"
                                ) from None
            if self._answered:
                self._say(f"the scheduler {self._where.scheduler} does not answer: waiting; Ctrl-C stops")
            self._answered = False
        else:
            if self._ever_connected:
                self._say(f"connected with {self._where.scheduler} again")
            self._ever_connected = self._answered = True

    def look(self):
        """Takes in workers that came; returns the addresses of those that went.

        Raises
        ------
        UserError
            if this machine is the worker, and does not fit.
        """
        try:
            found = self.client.scheduler_info()["workers"] if self.client else {}
        except (OSError, KeyError):
            return []
        gone = [address for address in self.present if address not in found]
        for address in gone:
            self._say(f"worker {address} is gone")
            del self.present[address]
        self._refused &= found.keys()
        new = {address: info for address, info in found.items() if address not in {*self.present, *self._refused}}
        if new:
            self._admit(new)
        return gone

    def _admit(self, new):
        local = self._where.scheduler is None
        for address, answer in self.call("check", new, self._folder, self._expected, *self._needs).items():
            if isinstance(answer, OSError):
                continue        # it went meanwhile, or is asked again
            info, slots = new[address], self._where.slots(new[address])
            problem, shared = answer if isinstance(answer, tuple) else (told(answer), False)
            if not problem and not slots:
                problem = (f"it has {info['nthreads']} threads and the resources {info['resources'] or 'none'}; a run "
                           f"takes {self._where.cores} threads and {self._where.resources or 'none'}")
            if problem and local:
                raise UserError(problem)
            if problem:
                self._refused.add(address)
                self._say(f"worker {address} is left out: {problem}")
                continue
            shared = shared and not self._send
            self.present[address] = Worker(shared, slots)
            if not local:
                self._say(f"worker {address}: {slots} runs at a time, "
                          f"{'sees this folder' if shared else 'sends files'}")

    def call(self, function, addresses, *arguments):
        """What a function of `worker` answers at workers, called with the sweep: {address: answer or exception}."""
        if not self.client or not addresses:
            return {}
        try:
            return self.client.run(_asked, function, self._id, *arguments, workers=list(addresses), on_error="return")
        except Exception:       # whatever ends a connection: the next look finds out who is gone
            return {}

    def submit(self, address, name, *arguments):
        """The future of :func:`experiments.common.worker.work` at a worker."""
        return self.client.submit(
            _task, "work", self._id, name, *arguments, key=f"{name}-{uuid.uuid4().hex[:8]}", workers=[address],
            allow_other_workers=False, pure=False, resources=self._where.resources or None)

    def send(self, address, content):
        """Brings content to a worker; returns what stands for it in :meth:`submit`'s arguments."""
        sent, = self.client.scatter([content], workers=[address], hash=False)
        return sent

    def close(self):
        """Ends the connection."""
        client, self.client = self.client, None
        if client:
            with contextlib.suppress(Exception):
                client.close(timeout=PATIENCE)
                if self._where.scheduler is None:
                    client.own_cluster.close()


def _task(function, *arguments):
    from importlib import import_module
    return getattr(import_module("experiments.common.worker"), function)(*arguments)


async def _asked(function, *arguments):
    import asyncio
    from importlib import import_module
    return await asyncio.to_thread(getattr(import_module("experiments.common.worker"), function), *arguments)


# So they are pickled by value: a scheduler reads its tasks, and need not have the project.
_task.__module__ = _asked.__module__ = "__main__"


def told(error):
    """An exception of a worker as a line."""
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] == "experiments":
        return ("it does not find the project: start it in the project's folder, by python -m dask worker, or with "
                "PYTHONPATH")
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
