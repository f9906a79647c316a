"""Sweeps: what is planned, how runs are placed, and what becomes of them when workers, scheduler or client are lost.

Most runs here are a stand-in for a training, of the standard library alone, that leaves the same files; the last test
trains.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from unittest import mock

import numpy as np
import pytest

import samples
import scripts
from conftest import ROOT
from experiments.common import cluster, jobs, sweep, worker
from utils import files, theano_setup
from utils.errors import UserError

THEANO_FLAGS = f"base_compiledir={__import__('theano').config.base_compiledir}"

#: Adds up the numbers of its epochs times the seed, 0.2 s each; the ledger has a line for each start and epoch. Epoch 3
#: of seed 13 fails.
STAND_IN = '''
import argparse, fcntl, json, os, signal, sys, time
parser = argparse.ArgumentParser()
for flag in ("--seed", "--epochs", "--output", "--ledger"):
    parser.add_argument(flag)
parser.add_argument("--resume", action="store_true")
args = parser.parse_args()
os.makedirs(args.output, exist_ok=True)
path = lambda name: os.path.join(args.output, name)
log = open(path("log.txt"), "a")
fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
def note(text):
    with open(args.ledger, "a") as file:
        file.write(text + "\\n")
def write(name, text):
    with open(path(name + ".part"), "w") as file:
        file.write(text)
    os.replace(path(name + ".part"), path(name))
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
total, rows = 0, []
if args.resume and os.path.exists(path("checkpoint.npz")):
    total, rows = json.load(open(path("checkpoint.npz")))
note(f"{args.seed} starts after {len(rows)}")
settings = {"experiment": "stand_in", "network": "n", "k": 1, "network_title": "N", "method": {"name": "dense"},
            "dataset": {"name": "digits"}, "training": {"seed": int(args.seed), "epochs": int(args.epochs)}}
write("config.json", json.dumps({"format": 2, "settings": settings, "command": "x", "threads":
                                 os.environ["OMP_NUM_THREADS"]}))
for epoch in range(len(rows) + 1, int(args.epochs) + 1):
    time.sleep(0.2)
    if (args.seed, epoch) == ("13", 3):
        sys.exit("error: the loss became NaN")
    total += epoch * int(args.seed)
    rows.append(epoch)
    # Before the checkpoint: a run killed between the two repeats a note; the other way round it would lose one.
    note(f"{args.seed} epoch {epoch}")
    write("checkpoint.npz", json.dumps([total, rows]))
    write("history.csv", "epoch,seconds,test_error_percent,compression\\n"
          + "".join(f"{row},0.2,5,2\\n" for row in rows))
    if asked and epoch < int(args.epochs):
        sys.exit(130)
write("weights.npz", str(total))
write("summary.json", json.dumps({"total": total}))
'''


@pytest.fixture
def stand_in(tmp_path):
    """Jobs of the stand-in: stand_in(seeds, epochs) -> list; and `total`, what a run of it must come to."""
    program, ledger = tmp_path / "stand_in.py", tmp_path / "ledger.txt"
    program.write_text(STAND_IN)
    ledger.touch()

    def made(seeds, epochs):
        return [jobs.Job(f"run-seed={seed}", [str(program), "--ledger", str(ledger), "--seed", str(seed), "--epochs",
                                              str(epochs)], "digits-8x8", None, epochs, None) for seed in seeds]
    made.notes = lambda: ledger.read_text().splitlines()
    made.total = lambda name: json.loads((tmp_path / "out" / name / "summary.json").read_text())["total"]
    made.out = str(tmp_path / "out")
    return made


def arguments(**values):
    return Namespace(**{**dict(jobs=2, cores_per_run=1, scheduler=None, resources=(), keep=0.2, send_files=False,
                               no_weights=False, data_dir=None), **values})


class Processes:
    """A scheduler and workers as `python -m dask` starts them; workers find the project, the scheduler does not."""

    def __init__(self, folder):
        self.folder, self.started = folder, {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        (folder / "empty").mkdir()
        # Whoever imports Theano there fails.
        (folder / "empty" / "theano.py").write_text("raise SystemExit('theano was imported')")

    def start(self, name, command, cwd, **environment):
        log = open(self.folder / f"{name}.log", "a")
        self.started[name] = subprocess.Popen(
            [sys.executable, "-m", "dask", *command], cwd=cwd, stdout=log, stderr=log,
            env={**os.environ, "THEANO_FLAGS": THEANO_FLAGS, **environment})

    def scheduler(self):
        self.start("scheduler", ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"],
                   self.folder / "empty", PYTHONPATH=str(self.folder / "empty"))
        until(self._answers)

    def _answers(self):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def worker(self, name, *flags, cwd=ROOT, **environment):
        self.start(name, ["worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard",
                          "--local-directory", str(self.folder / name), *flags], cwd, **environment)

    def registered(self, name, times):
        """Waits until a worker, with those of its name before it, has found the scheduler so many times."""
        until(lambda: (self.folder / f"{name}.log").read_text().count("Registered to:") == times)

    def kill(self, name):
        self.started[name].kill()
        self.started.pop(name).wait()

    def close(self):
        for process in self.started.values():
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path):
    own = Processes(tmp_path)
    yield own
    own.close()


def until(condition, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


# What is asked for


@pytest.fixture
def run_sweep(tmp_path, monkeypatch, capfd):
    """Runs experiments/sweep.py here, in an empty folder: run_sweep(*flags) -> status, output, errors."""
    monkeypatch.syspath_prepend(os.path.join(ROOT, "experiments"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    from experiments import sweep as program
    from experiments.common import status

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["sweep.py", *flags])
        try:
            status.main(program.main)
        except SystemExit as end:
            return end.code, *capfd.readouterr()
        return 0, *capfd.readouterr()
    return run


def test_the_plan_names_each_run_by_its_flags_whatever_their_order(run_sweep):
    found = []
    for flags in (("--grid", "seed=1,2", "k=0.5,1", "--plan", "--", "--threshold", "2", "--dataset", "digits",
                   "--no-kl-warm-up"),
                  ("--plan", "--grid", "k=1,0.5", "kl-warm-up=no", "seed=2,1", "threshold=2", "--jobs", "3", "--",
                   "--dataset=digits")):
        status, output, _ = run_sweep("random_labels", *flags)
        assert status == 0
        found.append(sorted(re.findall(r"^random_labels\S*", output, re.M)))
    assert found[0] == [f"random_labels-dataset=digits-k={k}-kl-warm-up=no-threshold=2-seed={seed}"
                        for k in ("0.5", "1") for seed in (1, 2)]
    assert found[1] == found[0] and "4 runs, 3 at a time" in output


def test_the_table_is_over_seeds_and_the_best_setting_has_all_its_runs(run_sweep, tmp_path):
    """Of runs that are finished already, so that nothing is trained."""
    flags = ("lenet_300_100", "--grid", "threshold=2,3,4", "seed=1,2", "--best", "--output", "out", "--")
    fixed = ("--dataset", "digits", "--validation", "100")
    for threshold, errors in ((2, (5, 7)), (3, (4, 5)), (4, (1, 1))):
        for seed, error in enumerate(errors, 1):
            folder = tmp_path / "out" / f"lenet_300_100-dataset=digits-threshold={threshold}-validation=100-seed={seed}"
            folder.mkdir(parents=True)
            summary = samples.summary(dataset="digits", dataset_title="digits", epochs=200, seed=seed, seconds=360,
                                      validation=100, test_error_percent=error, sparsity_percent_total=98.0,
                                      compression=50.0)
            (folder / "summary.json").write_text(json.dumps(summary))
    status, output, _ = run_sweep(*flags, *fixed)
    assert status == 0 and "Nothing is missing." in output
    rows = [line.split() for line in output.splitlines()]
    assert ["2", "2", "of", "2", "6.00", "(1.41)", "98.00", "50.0x"] in rows
    assert "Best on validation data: --threshold 4, Validation error %: 1.00, 2 runs" in output
    (folder / "summary.json").unlink()
    status, output, _ = run_sweep(*flags[:5], "--plan", *flags[5:], *fixed)
    assert status == 0 and re.search(r"threshold=4-validation=100-seed=2 +200 +7 min\n1 runs", output)


@pytest.mark.parametrize("flags, message", [
    (("--grid", "sed=1,2"), "unrecognized arguments: --sed"),
    (("--grid", "seed=1,x"), "--seed"),
    (("--grid", "seed=1,1"), "--grid"),
    (("--grid", "seed=1", "--", "--seed", "2"), "--seed has its values twice"),
    (("--grid", "seed=1", "--", "--seed=2"), "--seed has its values twice"),
    (("--grid", "kl-warm-up=yes,no", "--", "--no-kl-warm-up"), "--kl-warm-up has its values twice"),
    (("--grid", "seed=1", "--", "--output", "x"), "--output belongs before --"),
    (("--best", "--grid", "seed=1"), "--validation"),
    (("--grid", "seed=1", "--resources", "GPU", "--plan"), "NAME=N"),
    (("--grid", "seed=1", "--", "--dataset", "digits", "--init-from", "typo"), "/typo: name the folder of a finished"),
    (("--grid", "seed=1", "--scheduler", "tcp://127.0.0.1:1", "--", "--dataset", "digits"),
     "no Dask scheduler answers")])
def test_bad_input_is_one_line_before_anything_is_run(run_sweep, tmp_path, flags, message):
    status, _, errors = run_sweep("lenet_300_100", *flags)
    assert status in (1, 2) and message in errors and errors.count("\n") == 1 and errors.startswith("error: ")
    assert not list(tmp_path.glob("results/sweeps/lenet*"))


def test_estimates_go_by_the_longest_run_and_by_all():
    where = cluster.Cluster(None, 2, 1, {})
    three = [jobs.Job(str(number), ["x"], "digits", None, 100, seconds) for number, seconds in enumerate((36, 1, 1))]
    assert "3 runs, 2 at a time: about 61 min." in jobs.plan(three, where)
    assert "no finished run says yet" in jobs.plan([three[0], three[1]._replace(epoch_seconds=None)], where)
    remote = jobs.plan(three, where._replace(scheduler="tcp://host:1"))
    assert "by tcp://host:1: about 66 min of one core" in remote


def test_a_worker_has_room_by_cores_and_resources():
    info = {"nthreads": 8, "resources": {"GPU": 2.0}}
    for cores, resources, slots in ((1, {}, 8), (3, {}, 2), (16, {}, 0), (1, {"GPU": 1}, 2), (8, {"GPU": 1}, 1),
                                    (1, {"TPU": 1}, 0)):
        assert cluster.Cluster("x", 1, cores, resources).slots(info) == slots


# Files


def test_a_runs_folders_are_its_own_and_those_of_its_pretraining():
    job = jobs.Job("a", ["x.py"], "digits", None, 1, None, ("dense", "pruning"))
    assert job.folders == ["a", "a-dense", "a-dense-pruning"] and job._replace(pretrain=()).folders == ["a"]


def test_epochs_of_pretraining_count(tmp_path):
    """In estimates, and as progress of a run that loses its worker again and again."""
    job = jobs.Job("a", ["x.py"], "digits", None, 20, 36, ("dense",), (180,))
    where = cluster.Cluster(None, 1, 1, {})
    assert re.search(r"^a +180 \+ 20 +2 h$", jobs.plan([job], where), re.M)
    own = sweep.Sweep([job], str(tmp_path), where)
    (tmp_path / "a-dense").mkdir()
    for number in range(2 * sweep.MOST_LOSSES):
        own._waiting.clear()
        own._running["key"] = sweep._Running(job, "tcp://1", mock.Mock(), own._epochs(job))
        (tmp_path / "a-dense" / "history.csv").write_text("epoch\n" + "1\n" * (number + 1))
        own._lose("key")
    assert not own.failures and list(own._waiting) == [job]
    for _ in range(sweep.MOST_LOSSES + 1):
        own._waiting.clear()
        own._running["key"] = sweep._Running(job, "tcp://1", mock.Mock(), own._epochs(job))
        own._lose("key")
    assert list(own.failures) == ["a"] and not own._waiting


def test_runs_that_start_from_others_find_them_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(os.path.join(ROOT, "experiments"))
    monkeypatch.chdir(tmp_path)
    from experiments import sweep as program
    args, fixed = program.parsed(["lenet_300_100", "--grid", "seed=1", "--", "--init-from=there", "--teacher", "t/run"])
    job, _ = program.job(args, {"seed": "1"}, fixed)
    there, teacher = str(tmp_path / "there"), str(tmp_path / "t" / "run")
    assert job.command[-4:] == ["--init-from", there, "--teacher", teacher] and job.starts_from == (there, teacher)
    job, _ = program.job(args, {"seed": "1"}, ["--pretrain", "dense", "magnitude", "--epochs", "3"])
    assert job.folders[1:] == [f"{job.name}-dense", f"{job.name}-dense-magnitude"] and job.starts_from == ()


@pytest.mark.parametrize("path", ["../a/x", "a/../../x", "/a/x", "b/x", "a", "a/.ssh", "a/x\n", "a/b/c/d", "a//x", "a/",
                                  ".a/x", "a\\x"])
def test_files_that_no_run_leaves_are_refused(tmp_path, path):
    with pytest.raises(UserError, match="none of the run"):
        worker.unpack({"a/ok.txt": b"1", path: b"2"}, str(tmp_path / "in"), ["a"])
    assert not (tmp_path / "in").exists() and os.listdir(tmp_path) == []


def test_too_many_or_too_large_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="more than any run has"):
        worker.unpack({"a/x": b"12345678901"}, str(tmp_path), ["a"])


def test_a_run_travels_whole_and_becomes_finished_last(tmp_path, monkeypatch):
    for name in ("summary.json", "weights.npz", "weights_pruned.npz", "checkpoint.npz", "snapshots/epoch-0001.npz",
                 "x.part"):
        (tmp_path / "one" / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / "a" / name).write_text(name)
    (tmp_path / "one" / "a-other").mkdir()
    packed = worker.pack(str(tmp_path / "one"), ["a"])
    assert sorted(packed) == ["a/checkpoint.npz", "a/snapshots/epoch-0001.npz", "a/summary.json", "a/weights.npz",
                              "a/weights_pruned.npz"]
    assert "a/checkpoint.npz" not in worker.pack(str(tmp_path / "one"), ["a"], finished=True)
    assert sorted(worker.pack(str(tmp_path / "one"), ["a"], finished=True, weights=False)) == [
        "a/snapshots/epoch-0001.npz", "a/summary.json"]
    written, write = [], files.atomic_write
    monkeypatch.setattr(files, "atomic_write", lambda path: (written.append(path), write(path))[1])
    worker.unpack(packed, str(tmp_path / "two"), ["a"])
    assert len(written) == 5 and written[-1].endswith("summary.json")
    assert worker.pack(str(tmp_path / "two"), ["a"]) == packed


@pytest.mark.parametrize("title, line", [("Python", "it has Python 3.11"), ("commit", "it has commit"),
                                         ("sources", "nets/kl.py differs from the client's (1 source files do)")])
def test_other_software_is_refused_and_named(tmp_path, title, line):
    expected = worker.describe()
    assert worker.check(("s", "t"), str(tmp_path), expected, [], None, []) == (None, False)
    expected[title] = {**expected["sources"], "nets/kl.py": "0"} if title == "sources" else "other"
    assert worker.check(("s", "t"), str(tmp_path), expected, [], None, [])[0].startswith(line)


def test_missing_data_and_starts_are_refused_without_a_download(tmp_path):
    (tmp_path / worker.TOKEN).write_text("t")
    assert worker.check(("s", "t"), str(tmp_path), {}, [("digits", None)], None, []) == (None, True)
    problem, shared = worker.check(("s", "t"), str(tmp_path), {}, [("mnist", None)], str(tmp_path / "data"), [])
    assert "mnist's train-images-idx3-ubyte.gz is not in" in problem and "SPARSEVD_OFFLINE" in problem and shared
    assert "does not see /none" in worker.check(("s", "t"), str(tmp_path), {}, [], None, ["/none"])[0]


def test_runs_side_by_side_have_compiled_modules_of_their_own_unless_the_user_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("THEANORC", "THEANO_FLAGS"):
        monkeypatch.delenv(name, raising=False)

    def chosen(settings):
        with monkeypatch.context() as context:
            context.setenv("THEANORC", settings)
            return theano_setup.user_flags()["base_compiledir"]
    with worker._own_compiled_modules() as one, worker._own_compiled_modules() as two:
        assert [chosen(one), chosen(two)] == [f"{tmp_path}/.theano/sweep-{number}" for number in (0, 1)]
    with worker._own_compiled_modules() as again:
        assert again == one
    (tmp_path / ".theanorc").write_text("[global]\nbase_compiledir = /mine\n")
    with worker._own_compiled_modules() as own:
        assert chosen(own) == "/mine"
        monkeypatch.setenv("THEANO_FLAGS", "base_compiledir=/other")
        assert chosen(own) == "/other"


# On this machine


def test_what_is_finished_stays_what_fails_is_named_and_the_others_go_on(stand_in, capsys):
    three = stand_in((1, 13, 2), 4)
    with pytest.raises(UserError, match=r"^1 of 3 runs failed, with the lines above: run-seed=13;"):
        sweep.train(three, stand_in.out, arguments())
    assert re.search(r"^run-seed=13: failed after \d+ (s|min): the loss became NaN$", capsys.readouterr().out, re.M)
    assert (stand_in.total("run-seed=1"), stand_in.total("run-seed=2")) == (10, 20)
    with open(os.path.join(stand_in.out, "run-seed=1", "config.json")) as file:
        assert json.load(file)["threads"] == "1"
    with pytest.raises(UserError, match="1 of 1 runs failed"):
        sweep.train(three, stand_in.out, arguments())
    assert [note for note in stand_in.notes() if "starts" in note][3:] == ["13 starts after 2"]


def test_two_sweeps_in_a_folder_are_refused(stand_in):
    with sweep._only_sweep(stand_in.out), pytest.raises(UserError, match="another sweep is going on"):
        sweep.train(stand_in((1,), 1), stand_in.out, arguments())


def client(stand_in, seeds, epochs, **values):
    """A client in a process of its own."""
    code = ("import sys, json; sys.path.insert(0, sys.argv[1]); from argparse import Namespace\n"
            "from experiments.common import cluster, jobs, status, sweep\n"
            "cluster.PATIENCE, sweep.LOOK = 1, 0.1\n"
            "todo = [jobs.Job(*job) for job in json.loads(sys.argv[2])]\n"
            "status.main(lambda: sweep.train(todo, sys.argv[3], Namespace(**json.loads(sys.argv[4]))))")
    return subprocess.Popen([sys.executable, "-c", code, ROOT, json.dumps(stand_in(seeds, epochs)), stand_in.out,
                             json.dumps(vars(arguments(**values)))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_is_stopped_leaves_nothing_running_and_goes_on(stand_in, number):
    first = client(stand_in, (1, 2, 3), 10)
    until(lambda: len(stand_in.notes()) > 6)
    # A terminal sends Ctrl-C to the whole group.
    os.killpg(first.pid, number)
    output, _ = first.communicate(timeout=100)
    if number == signal.SIGINT:
        assert first.returncode == 130 and re.search("Stopped; [0-2] of 3 runs are finished", output)
    time.sleep(0.5)
    before = stand_in.notes()
    time.sleep(0.5)
    assert stand_in.notes() == before       # its runs have ended too
    sweep.train(stand_in((1, 2, 3), 10), stand_in.out, arguments())
    assert [stand_in.total(f"run-seed={seed}") for seed in (1, 2, 3)] == [55, 110, 165]
    epochs = [note for note in stand_in.notes() if "epoch" in note]
    assert len(epochs) == len(set(epochs)) == 30 or number == signal.SIGKILL and len(set(epochs)) == 30


# On a cluster

def test_what_a_worker_hands_out_while_a_run_goes_on(tmp_path):
    """Not the summary, by which a run counts as finished."""
    (tmp_path / "a").mkdir()
    for name in ("config.json", "log.txt", "history.csv", "checkpoint.npz", "weights.npz", "summary.json", "x.part"):
        (tmp_path / "a" / name).write_text(name)
    light, heavy = (worker._changed(str(tmp_path), ["a"], {}, whether) for whether in (False, True))
    assert sorted(light) == ["a/config.json", "a/history.csv", "a/log.txt"]
    assert set(heavy) - set(light) == {"a/checkpoint.npz", "a/weights.npz"}
    assert worker._changed(str(tmp_path), ["a"], {path: stamp for path, (stamp, _) in heavy.items()}, True) == {}


def test_a_run_that_nobody_asks_after_is_ended(monkeypatch):
    monkeypatch.setattr(worker, "LEASE", 0.2)
    training = worker._Training(("s", "t"), subprocess.Popen(["sleep", "60"], start_new_session=True), None)
    assert worker._wait(training, Namespace(status=Namespace(name="running"))) != 0 and training.stopped


SLOW = pytest.mark.skipif(not os.environ.get("SPARSEVD_SLOW_TESTS"),
                          reason="trains or waits for a minute: SPARSEVD_SLOW_TESTS=1 runs it")


@SLOW
@pytest.mark.parametrize("send", [True, False])
def test_lost_workers_scheduler_and_client(stand_in, processes, send):
    """Each once, in the middle of runs; the scheduler knows neither project nor Theano."""
    processes.scheduler()
    for name in ("one", "two"):
        processes.worker(name)
    flags = dict(scheduler=processes.address, send_files=send)
    # Long enough for a checkpoint to be fetched on the way.
    seeds, epochs = range(1, 5), 24
    running = client(stand_in, seeds, epochs, **flags)
    until(lambda: len(stand_in.notes()) > 30)
    processes.kill("one")
    processes.worker("one")
    processes.registered("one", 2)
    until(lambda: sum("starts" in note for note in stand_in.notes()) > 3)
    processes.kill("scheduler")
    for name in ("one", "two"):
        processes.started.pop(name).wait(100)    # they end with their runs
    quiet = stand_in.notes()
    time.sleep(0.5)
    assert stand_in.notes() == quiet
    processes.scheduler()
    for name in ("one", "two"):
        processes.worker(name)
    until(lambda: len(stand_in.notes()) > len(quiet) + 8)
    running.kill()
    running.communicate()
    sweep.train(stand_in(seeds, epochs), stand_in.out, arguments(**flags))
    whole = epochs * (epochs + 1) // 2
    assert [stand_in.total(f"run-seed={seed}") for seed in seeds] == [whole * seed for seed in seeds]
    starts = [note for note in stand_in.notes() if "starts" in note]
    assert len(starts) >= 6 and any(not note.endswith(" after 0") for note in starts)
    finished = [note for note in stand_in.notes() if note.endswith(f"epoch {epochs}")]
    assert len(set(finished)) == len(seeds)


def test_workers_that_do_not_fit_are_left_out_by_name(stand_in, processes, tmp_path, capsys):
    processes.scheduler()
    processes.worker("good", "--resources", "GPU=1")
    processes.worker("lost", "--resources", "GPU=1", cwd=tmp_path)
    processes.worker("plain")
    for name in ("good", "lost", "plain"):
        processes.registered(name, 1)
    running = client(stand_in, (1,), 2, scheduler=processes.address, resources=("GPU=1",), send_files=True,
                     no_weights=True)
    output, _ = running.communicate(timeout=200)
    assert running.returncode == 0, output
    left_out = re.findall(r"^worker \S+ is left out: (.*)$", output, re.M)
    assert len(left_out) == 2
    for reason in ("does not find the project", "a run takes 1 threads and {'GPU': 1}"):
        assert sum(reason in line for line in left_out) == 1
    assert stand_in.total("run-seed=1") == 3
    assert sorted(os.listdir(os.path.join(stand_in.out, "run-seed=1"))) == ["config.json", "history.csv", "log.txt",
                                                                            "summary.json"]


@SLOW
def test_a_training_that_lost_its_worker_ends_with_the_same_bits(tmp_path, processes):
    flags = ("--dataset", "digits", "--epochs", "12")
    plain = scripts.run("lenet_300_100", *flags, "--output", "plain", cwd=tmp_path, OMP_NUM_THREADS="1",
                        THEANO_FLAGS=THEANO_FLAGS)
    assert plain.returncode == 0, plain.stderr
    processes.scheduler()
    processes.worker("one")
    with subprocess.Popen(
            scripts.command("sweep", "lenet_300_100", "--scheduler", processes.address, "--send-files", "--keep", "1",
                   "--output", "out", "--", *flags), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        run = tmp_path / "out" / "lenet_300_100-dataset=digits-epochs=12"
        until((run / "checkpoint.npz").exists)
        processes.kill("one")
        processes.worker("two")
        output, _ = running.communicate(timeout=300)
    assert running.returncode == 0 and "lost its worker" in output, output
    assert "Resumed after epoch" in (run / "log.txt").read_text() and not (run / "checkpoint.npz").exists()
    for name in ("weights.npz", "weights_pruned.npz"):
        expected, found = files.read_arrays(tmp_path / "plain" / name), files.read_arrays(run / name)
        assert expected.keys() == found.keys()
        for key in expected:
            np.testing.assert_array_equal(expected[key], found[key])
