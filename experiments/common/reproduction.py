"""The runs behind the paper's tables: which there are, how long they take, and running those that are missing."""

import os
from collections import namedtuple

from experiments.common import sweep
from experiments.common.jobs import Job
from utils import results, runs
from utils.errors import UserError

__all__ = ["PaperRun", "PAPER_RUNS", "QUICK_FOLDER", "jobs", "run"]

QUICK_FOLDER = os.path.join("results", "quick")

#: A run: its folder's name, the table it is for, script and flags; the epochs of the full and of the quick version
#: (None where there is no quick one), and the seconds of an epoch on one core of an x86-64 processor, roughly.
PaperRun = namedtuple("PaperRun", "name table script dataset flags epochs quick_epochs epoch_seconds")


def _lenets():
    # The dense LeNet-5-Caffe is at its best long before epoch 200.
    for script, dense_epochs, seeds, seconds, quick in (("lenet_300_100", 200, (1, 2, 3), 4, 10),
                                                        ("lenet5_caffe", 60, (1,), 24, 5)):
        yield PaperRun(f"{script}-mnist-dense-seed1", "lenet", script, "mnist", ("--method", "dense"), dense_epochs,
                       quick, seconds / 2)
        for seed in seeds:
            yield PaperRun(f"{script}-mnist-seed{seed}", "lenet", script, "mnist", ("--seed", str(seed)), 200,
                           quick if seed == 1 else None, seconds)
    yield PaperRun("lenet5_caffe-mnist-from-dense-seed1", "lenet", "lenet5_caffe", "mnist", ("--pretrain", "dense"),
                   200, None, 18)


def _vgg_like():
    for dataset in ("cifar10", "cifar100-coarse"):
        for k in (0.25, 0.5, 1, 1.5):
            yield PaperRun(f"vgg_like-{dataset}-k{k:g}-seed1", "vgg-like", "vgg_like", dataset,
                           ("--k", f"{k:g}", "--pretrain", "binary-dropout"), 200, None, 110 * (k / 0.25) ** 2)


def _random_labels():
    yield PaperRun("random_labels-mnist-seed1", "random-labels", "random_labels", "mnist", (), 200, 20, 4)
    yield PaperRun("random_labels-mnist-binary-dropout-seed1", "random-labels", "random_labels", "mnist",
                   ("--method", "binary-dropout", "--k", "4", "--dropout-rate", "0.1", "--learning-rate", "3e-4"), 140,
                   10, 11)


def _logistic_regression():
    for dataset, quick, seconds in (("digits-8x8", 200, 0.1), ("digits-8x8-noise", 200, 0.1), ("mnist", 10, 1)):
        yield PaperRun(f"logistic_regression-{dataset}-seed1", "logistic-regression", "logistic_regression", dataset,
                       (), 200, quick, seconds)


#: Every run of the full version.
PAPER_RUNS = (*_lenets(), *_vgg_like(), *_random_labels(), *_logistic_regression())


def jobs(tables, quick=False, variant=None):
    """The runs for tables, as :class:`experiments.common.jobs.Job`; the quick version leaves out what takes long.

    Parameters
    ----------
    tables : collection of str
    quick : bool
        whether to train for a few epochs only
    variant : str or None
        as the scripts' flag; CIFAR's
    """
    chosen = [run for run in PAPER_RUNS if run.table in tables and not (quick and run.quick_epochs is None)]
    return [_job(run, quick, variant if run.dataset.startswith("cifar") else None) for run in chosen]


def _job(run, quick, variant):
    epochs = run.quick_epochs if quick else run.epochs
    command = [os.path.join("experiments", f"{run.script}.py"), *run.flags, "--dataset", run.dataset, "--epochs",
               str(epochs), *(["--variant", variant] if variant else [])]
    pretrain = run.flags[run.flags.index("--pretrain") + 1:][:1] if "--pretrain" in run.flags else ()
    return Job(run.name, command, run.dataset, variant, epochs, run.epoch_seconds, pretrain,
               (epochs,) * len(pretrain))


def run(tables, folder, args, quick=False):
    """Trains what is missing for the tables; prints a plan first, and what becomes of each run.

    Parameters
    ----------
    tables : collection of str
    folder : str
        where the runs' folders are
    args : argparse.Namespace
        with the flags of :func:`experiments.common.cluster.add_flags`, `data_dir` and `variant`
    quick : bool

    Raises
    ------
    UserError, SystemExit
        as :func:`experiments.common.sweep.train`; also if a run is there that was trained for other epochs
    """
    without = [table for table in tables if not any(run.table == table for run in PAPER_RUNS)]
    if without:
        print(f"Of the tables {', '.join(without)}, --run trains nothing; docs/results.md has the commands of their "
              "runs.")
    left_out = [run.name for run in PAPER_RUNS if quick and run.table in tables and run.quick_epochs is None]
    if left_out:
        print(f"Left out of the quick version: {', '.join(left_out)}.")
    planned = jobs(tables, quick, args.variant)
    for job in planned:
        path = os.path.join(folder, job.name)
        epochs = runs.is_finished(path) and results.read_summary(path)["epochs"]
        if epochs and epochs != job.epochs:
            raise UserError(f"{path} was trained for {epochs} epochs, not {job.epochs}: remove it, or name another "
                            "folder with --results")
    sweep.train(planned, folder, args)
