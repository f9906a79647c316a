"""What a sweep costs: short tasks through a scheduler, a run's overhead, and sweeps whose processes are killed.

    python benchmarks/sweep.py tasks --number 10000        tasks that do nothing, placed one by one as runs are
    python benchmarks/sweep.py runs --number 12            short trainings one after another, and as a sweep
    python benchmarks/sweep.py kills --number 12 --kills 10

Each starts a scheduler and two workers, processes of `python -m dask`, on loopback; the workers train in folders of
their own, and their files travel. `kills` kills a worker at random moments so many times, the scheduler and the client
once, and compares all weights with those of runs made one after another, bit for bit.
"""

import argparse
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from experiments.common import cluster, sweep  # noqa: E402
from experiments.common.jobs import Job  # noqa: E402
from utils import files  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = "lenet_300_100"


class Processes:
    """A scheduler and workers that come again when they end."""

    def __init__(self, folder, threads):
        self.folder, self.threads, self.started = folder, threads, {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "tcp://127.0.0.1:%d" % free.getsockname()[1]

    def start(self, name):
        command = [sys.executable, "-m", "dask"]
        if name == "scheduler":
            command += ["scheduler", "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2], "--no-dashboard"]
        else:
            command += ["worker", self.address, "--no-nanny", "--nthreads", str(self.threads), "--no-dashboard",
                        "--local-directory", os.path.join(self.folder, name)]
        with open(os.path.join(self.folder, f"{name}.log"), "a") as log:
            self.started[name] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def start_what_ended(self):
        for name in ("scheduler", "one", "two"):
            if name not in self.started or self.started[name].poll() is not None:
                self.start(name)

    def kill(self, name):
        self.started[name].kill()
        self.started[name].wait()

    def __enter__(self):
        self.start_what_ended()
        time.sleep(5)
        return self

    def __exit__(self, *exception):
        for process in self.started.values():
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tasks", "runs", "kills"))
    parser.add_argument("--number", type=int, default=12, help="of tasks or runs (default: 12)")
    parser.add_argument("--epochs", type=int, default=20, help="of a run (default: 20)")
    parser.add_argument("--kills", type=int, default=10, help="of a worker (default: 10)")
    parser.add_argument("--threads", type=int, help="of a worker: tasks at a time (default: 1; 50 for tasks)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        threads = args.threads or (50 if args.what == "tasks" else 1)
        if args.what == "tasks":
            tasks(args, Processes(folder, threads))
        else:
            (runs if args.what == "runs" else kills)(args, Processes(folder, threads), one_by_one(args, folder))


class Idle(cluster.Workers):
    """Their tasks do nothing, and come back as finished."""

    def submit(self, address, name, *arguments):
        return self.client.submit(_nothing, name, key=name, workers=[address], allow_other_workers=False, pure=False)


def _nothing(name):
    return {"state": "finished", "line": "", "seconds": 0, "files": {}}


_nothing.__module__ = "__main__"


def tasks(args, processes):
    jobs = [Job(f"task-{number}", ["x"], "digits-8x8", None, 1, None) for number in range(args.number)]
    with processes:
        cluster.Workers = Idle
        run = sweep.Sweep(jobs, os.path.join(processes.folder, "out"), cluster.Cluster(processes.address, 1, 1, {}))
        run._display.line = lambda text: None
        began = time.perf_counter()
        run.run()
        took = time.perf_counter() - began
        used = [cpu_seconds(processes.started[name].pid) for name in ("scheduler", "one", "two")]
    print(f"{args.number} tasks in {took:.1f} s, {args.number / took:.0f} a second, {1000 * took / args.number:.1f} ms "
          f"each; CPU time: client {time.process_time():.1f} s, scheduler {used[0]:.1f} s, workers "
          f"{used[1] + used[2]:.1f} s")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def flags(args):
    return ["--dataset", "digits", "--epochs", str(args.epochs)]


def one_by_one(args, folder):
    """Trains the runs one after another; returns their seconds."""
    seconds = []
    for seed in range(1, args.number + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, os.path.join(ROOT, "experiments", f"{SCRIPT}.py"), *flags(args), "--seed",
                        str(seed), "--output", os.path.join(folder, "plain", str(seed))], check=True,
                       stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    print(f"One after another: {args.number} runs of {args.epochs} epochs in {sum(seconds):.0f} s, "
          f"{statistics.median(seconds):.1f} s each (median)", flush=True)
    return seconds


class Timed(sweep.Sweep):
    """Notes how long a run takes from its submission until its files are written, and its process's part of it."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.begun, self.times = {}, []

    def _start(self, job, address):
        self.begun[job.name] = time.perf_counter()
        super()._start(job, address)

    def _store(self, job, outcome):
        super()._store(job, outcome)
        self.times.append((time.perf_counter() - self.begun[job.name], outcome["seconds"]))


def runs(args, processes, plain):
    command = [os.path.join("experiments", f"{SCRIPT}.py"), *flags(args)]
    jobs = [Job(f"run-seed={seed}", [*command, "--seed", str(seed)], "digits", None, args.epochs, None)
            for seed in range(1, args.number + 1)]
    with processes:
        where = cluster.Cluster(processes.address, 1, 1, {})
        run = Timed(jobs, os.path.join(processes.folder, "out"), where, send=True)
        began = time.perf_counter()
        run.run()
        took = time.perf_counter() - began
    compare(args, processes.folder)
    extra = [whole - process for whole, process in run.times]
    print(f"As a sweep on two workers: {took:.0f} s, {sum(plain) / took:.2f} times as fast. A run's overhead over its "
          f"process: {statistics.median(extra):.2f} s (median; largest {max(extra):.2f}), "
          f"{100 * sum(extra) / sum(process for _, process in run.times):.1f} % of the processes' time")


def kills(args, processes, plain):
    rng = random.Random(args.seed)
    seeds = ",".join(map(str, range(1, args.number + 1)))
    command = [sys.executable, os.path.join(ROOT, "experiments", "sweep.py"), SCRIPT, "--grid", f"seed={seeds}",
               "--scheduler", processes.address, "--send-files", "--keep", "1",
               "--output", os.path.join(processes.folder, "out"), "--", *flags(args)]
    with processes:
        began = time.perf_counter()
        client = subprocess.Popen(command)
        # Between kills as much time as a run and a half takes, so that all is over when the last one has come.
        moments = sorted(rng.uniform(0, 1.5 * args.kills * statistics.median(plain)) for _ in range(args.kills))
        events = [(moment, "worker") for moment in moments]
        events += [(moments[len(moments) // 3] + 3, "scheduler"), (moments[2 * len(moments) // 3] + 3, "client")]
        happened = []
        for moment, what in sorted(events):
            while time.perf_counter() - began < moment and client.poll() is None:
                time.sleep(0.1)
                processes.start_what_ended()
            if client.poll() is not None:
                break
            happened.append(what)
            if what == "client":
                client.send_signal(signal.SIGINT)
                assert client.wait() == 130
                client = subprocess.Popen(command)
            else:
                victim = "scheduler" if what == "scheduler" else rng.choice(("one", "two"))
                print(f"kill -9 of {victim} after {moment:.1f} s", flush=True)
                processes.kill(victim)
        while client.poll() is None:
            time.sleep(0.1)
            processes.start_what_ended()
        took = time.perf_counter() - began
    assert client.returncode == 0
    compare(args, processes.folder)
    print(f"As a sweep with {happened.count('worker')} workers killed, {happened.count('scheduler')} scheduler, "
          f"{happened.count('client')} client stopped: {took:.0f} s")


def compare(args, folder):
    """All weights are those of the runs made one after another."""
    out = os.path.join(folder, "out")
    for seed in range(1, args.number + 1):
        own, = (name for name in os.listdir(out) if name.endswith(f"seed={seed}"))
        for name in ("weights.npz", "weights_pruned.npz"):
            expected = files.read_arrays(os.path.join(folder, "plain", str(seed), name))
            found = files.read_arrays(os.path.join(out, own, name))
            assert expected.keys() == found.keys(), own
            for key, array in expected.items():
                assert array.dtype == found[key].dtype and array.tobytes() == found[key].tobytes(), (own, name, key)
    print(f"The weights of all {args.number} runs are the same, bit for bit.")


if __name__ == "__main__":
    main()
