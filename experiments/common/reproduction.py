"""The runs behind the paper's tables: which there are, how long they take, and running those that are missing."""

import os
import subprocess
import sys
import time
from collections import namedtuple

import joblib
from tabulate import tabulate
from tqdm import tqdm

import data
from utils import runs
from utils.errors import UserError

__all__ = ["Job", "JOBS", "QUICK_FOLDER", "run"]

QUICK_FOLDER = os.path.join("results", "quick")

#: A run: its folder's name, the table it is for, script and flags; the epochs of the full and of the quick version
#: (None where there is no quick one), and the seconds of an epoch on one core of an x86-64 processor, roughly.
Job = namedtuple("Job", "name table script dataset flags epochs quick_epochs epoch_seconds")


def _lenets():
    # The dense LeNet-5-Caffe is at its best long before epoch 200.
    for script, dense_epochs, seeds, seconds, quick in (("lenet_300_100", 200, (1, 2, 3), 4, 10),
                                                        ("lenet5_caffe", 60, (1,), 24, 5)):
        yield Job(f"{script}-mnist-dense-seed1", "lenet", script, "mnist", ("--method", "dense"), dense_epochs, quick,
                  seconds / 2)
        for seed in seeds:
            yield Job(f"{script}-mnist-seed{seed}", "lenet", script, "mnist", ("--seed", str(seed)), 200,
                      quick if seed == 1 else None, seconds)
    yield Job("lenet5_caffe-mnist-from-dense-seed1", "lenet", "lenet5_caffe", "mnist", ("--pretrain", "dense"), 200,
              None, 36)


def _vgg_like():
    for dataset in ("cifar10", "cifar100-coarse"):
        for k in (0.25, 0.5, 1, 1.5):
            yield Job(f"vgg_like-{dataset}-k{k:g}-seed1", "vgg-like", "vgg_like", dataset,
                      ("--k", f"{k:g}", "--pretrain", "binary-dropout"), 200, None, 220 * (k / 0.25) ** 2)


def _random_labels():
    yield Job("random_labels-mnist-seed1", "random-labels", "random_labels", "mnist", (), 200, 20, 4)
    yield Job("random_labels-mnist-binary-dropout-seed1", "random-labels", "random_labels", "mnist",
              ("--method", "binary-dropout", "--k", "4", "--dropout-rate", "0.1", "--learning-rate", "3e-4"), 140, 10,
              11)


def _logistic_regression():
    for dataset, quick, seconds in (("digits-8x8", 200, 0.1), ("digits-8x8-noise", 200, 0.1), ("mnist", 10, 1)):
        yield Job(f"logistic_regression-{dataset}-seed1", "logistic-regression", "logistic_regression", dataset, (),
                  200, quick, seconds)


#: Every run of the full version.
JOBS = (*_lenets(), *_vgg_like(), *_random_labels(), *_logistic_regression())


def run(tables, folder, quick=False, side_by_side=None, data_dir=None, variant=None):
    """Trains what is missing for the tables; prints a plan first, and what becomes of each run.

    Parameters
    ----------
    tables : collection of str
    folder : str
        where the runs' folders are
    quick : bool
        whether to train for a few epochs only, and to leave out what takes long even so
    side_by_side : int or None
        how many runs at once; None is one a processor core, or one if THEANO_FLAGS names a device
    data_dir, variant
        as the scripts' flags; `variant` is CIFAR's

    Raises
    ------
    UserError
        if a data set is missing, or a run fails (after the others have ended).
    """
    cores = len(os.sched_getaffinity(0))
    side_by_side = side_by_side or (1 if "device=" in os.environ.get("THEANO_FLAGS", "") else cores)
    if side_by_side < 1:
        raise UserError(f"--jobs {side_by_side} is not positive")
    missing = [job for job in JOBS if job.table in tables and not runs.is_finished(os.path.join(folder, job.name))
               and not (quick and job.quick_epochs is None)]
    left_out = [job.name for job in JOBS if quick and job.table in tables and job.quick_epochs is None]
    if left_out:
        print(f"Left out of the quick version: {', '.join(left_out)}.")
    if not missing:
        print("Nothing is missing.\n")
        return
    missing.sort(key=lambda job: -_seconds(job, quick))
    print(tabulate([(job.name, _epochs(job, quick), _duration(_seconds(job, quick))) for job in missing],
                   ("To be run", "Epochs", "Time, one core")))
    longest = max(_seconds(missing[0], quick), sum(_seconds(job, quick) for job in missing) / side_by_side)
    print(f"{len(missing)} runs, {min(side_by_side, len(missing))} at a time: about {_duration(longest)}. Ctrl-C "
          "stops; the same command goes on. How far a run is stands in its log.txt.\n")
    for dataset in dict.fromkeys(job.dataset for job in missing):
        data.load(dataset, data_dir, variant=_variant(dataset, variant))   # downloads it once, or fails now
    threads = max(1, cores // side_by_side)
    with tqdm(total=len(missing), desc="runs", unit="run", disable=None) as progress:
        failed = [error for error in joblib.Parallel(n_jobs=side_by_side, backend="threading")(
            joblib.delayed(_train)(job, folder, quick, threads, data_dir, variant, progress) for job in missing)
            if error]
    print()
    if failed:
        raise UserError("; ".join(failed))


def command(job, folder, quick=False, data_dir=None, variant=None):
    """The command line of a run, as a list, from `experiments/` on."""
    output = os.path.join(folder, job.name)
    flags = [*job.flags, "--dataset", job.dataset, "--epochs", str(_epochs(job, quick)), "--output", output]
    if data_dir:
        flags += ["--data-dir", data_dir]
    if _variant(job.dataset, variant):
        flags += ["--variant", variant]
    # A folder with a configuration only was stopped in its first epoch.
    return [os.path.join("experiments", f"{job.script}.py"), *flags, *(["--resume"] if runs.holds_run(output) else [])]


def _train(job, folder, quick, threads, data_dir, variant, progress):
    """Trains in a process of its own. Returns None, or what went wrong."""
    began = time.perf_counter()
    script, *flags = command(job, folder, quick, data_dir, variant)
    done = subprocess.run([sys.executable, os.path.join(runs.PROJECT, script), *flags],
                          capture_output=True, text=True, env={"OMP_NUM_THREADS": str(threads), **os.environ})
    took = _duration(time.perf_counter() - began)
    tqdm.write(f"{job.name}: {'failed after' if done.returncode else 'done in'} {took}", file=sys.stdout)
    progress.update()
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return f"{job.name}: {last.removeprefix('error: ')}"


def _variant(dataset, variant):
    return variant if dataset.startswith("cifar") else None


def _epochs(job, quick):
    return job.quick_epochs if quick else job.epochs


def _seconds(job, quick):
    return _COMPILATION + _epochs(job, quick) * job.epoch_seconds


_COMPILATION = 60  # seconds, at most


def _duration(seconds):
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 6000 else f"{minutes / 1440:.0f} d"
