"""A run's folder: configuration, history, log, summary, curves, weights and the last checkpoint."""

import contextlib
import csv
import fcntl
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, is_dataclass

import numpy as np
from tqdm import tqdm

from nets import methods
from utils import files, theano_setup
from utils.errors import UserError, advising

__all__ = ["Run", "start", "default_folder", "holds_run", "has_checkpoint", "is_finished", "stored_settings",
           "sparsity_columns", "SPARSITY"]

#: With a layer's name behind it, the history's column of that layer's sparsity.
SPARSITY = "sparsity_percent_"
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Run:
    """A folder with what one training leaves.

    Parameters
    ----------
    folder : str
        is made if it does not exist
    config : dict
        what the training depends on (`"settings"`), and where it runs; written to `config.json`. Of a run that is
        resumed, where it began stays, and where it goes on is added to the list `"resumed"`.
    resume : bool
        whether the folder may hold a run already, whose settings must then be the same
    resume_hint : str or None
        the flags that go on with this run; None is `--resume` with its folder

    Raises
    ------
    UserError
        if the folder holds a run and `resume` is False, if it holds another run or a damaged checkpoint, or if a
        training is going on in it.
    """

    def __init__(self, folder, config, resume=False, resume_hint=None):
        self.folder = folder
        self.resume_hint = resume_hint or f"--resume {folder}"
        self.config = config
        exists = os.path.exists(self.path("config.json"))
        if exists and not resume:
            raise UserError(f"{folder} holds a run already: go on with it by --resume {folder}, or name another "
                            "folder with --output")
        with files.writing(folder):
            os.makedirs(folder, exist_ok=True)
            self._log = open(self.path("log.txt"), "a")
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is training in {folder}: wait for it, or name another folder with "
                            "--output") from None
        if exists:
            self.config = files.read_json(self.path("config.json"))
            _require_same_settings(folder, self.config, config)
            origin = {name: value for name, value in config.items() if name != "settings"}
            self.config["resumed"] = [*self.config.get("resumed", []), origin]
        #: The last checkpoint as (arrays, epoch, history, generator), see `save_checkpoint`; None if there is none yet.
        self.checkpoint = self._load_checkpoint() if resume else None
        files.write_json(self.path("config.json"), self.config)

    def path(self, name):
        """The path of a file in the run's folder."""
        return os.path.join(self.folder, name)

    def log(self, text=""):
        """Writes lines to the terminal, above a progress bar, and to the log file."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
        with files.writing(self.path("log.txt")):
            self._log.write(text + "\n")
            self._log.flush()

    def save_checkpoint(self, arrays, epoch, history, generator):
        """Writes what training depends on, atomically; the previous checkpoint stays until the new one is complete.

        Parameters
        ----------
        arrays : dict
            name -> array of the network, the optimizer and the noise generators
        epoch : int
            how many epochs are completed
        history : list of dict
            a row for each of them
        generator : dict
            the state of the generator that shuffles and augments the training set
        """
        meta = {"epoch": epoch, "settings": self.config["settings"], "history": history, "generator": generator}
        with advising(f"{self.resume_hint} goes on from the last checkpoint"):
            files.write_arrays(self.path("checkpoint.npz"), {**arrays, "meta": np.array(json.dumps(meta))})
        self.write_history(history)

    def _load_checkpoint(self):
        path = self.path("checkpoint.npz")
        if not os.path.exists(path):
            return None
        with advising("without --resume, a new run begins"):
            arrays = files.read_arrays(path)
        try:
            meta = json.loads(str(arrays.pop("meta")))
            found = meta["epoch"], meta["history"], meta["generator"]
        except (KeyError, ValueError, TypeError):
            raise UserError(f"{path} is not a checkpoint of this project; start a new run without --resume") from None
        _require_same_settings(path, meta, self.config)
        return (arrays, *found)

    def write_history(self, history):
        """Writes a row an epoch to `history.csv`."""
        text = io.StringIO()
        if history:
            writer = csv.DictWriter(text, history[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(history)
        with files.atomic_write(self.path("history.csv")) as file:
            file.write(text.getvalue().encode())

    def close(self):
        """Lets another process train in the folder."""
        self._log.close()


def sparsity_columns(names):
    """The history's columns that hold a layer's sparsity in percent: {layer name: column}.

    Parameters
    ----------
    names : iterable of str
        all columns, such as a row's keys
    """
    return {name.removeprefix(SPARSITY): name for name in names if name.startswith(SPARSITY)}


def start(options, dataset, **hyper_parameters):
    """Opens a run's folder and says what is going to be trained.

    Parameters
    ----------
    options : argparse.Namespace
        see :func:`experiments.common.cli.parse`
    dataset : :class:`data.dataset.Dataset`
    **hyper_parameters
        all else that the training depends on: `network`, schedules, ...; over the options of the same name

    Returns
    -------
    :class:`Run`

    Raises
    ------
    UserError
        as for :class:`Run`, and if a batch is larger than the training set.
    """
    if options.batch_size > len(dataset.train):
        raise UserError(f"--batch-size {options.batch_size} is more than the {len(dataset.train)} training "
                        f"images of {dataset.name}")
    settings = {"experiment": options.experiment, **options.settings, "data": dataset.name,
                "data_fingerprint": dataset.fingerprint}
    settings.update((name, asdict(value) if is_dataclass(value) else value)
                    for name, value in hyper_parameters.items())
    environment = theano_setup.describe()
    run = Run(options.folder, {"settings": settings, "environment": environment, **provenance()}, options.resume,
              options.resume_hint)
    run.log(f"{settings['network']}, {methods.title(options.method, options.parameterization)}, on {dataset.name} "
            f"({len(dataset.train):,} training and {len(dataset.test):,} test images, "
            f"{dataset.num_classes} classes), seed {options.seed}, {options.epochs} epochs")
    run.log(f"Theano {environment['Theano']} on {environment['device']}, {environment['threads']} threads, "
            f"BLAS: {environment['blas']}")
    run.log(f"Run folder: {run.folder}")
    run.log("Compiling; the first time on a machine it takes a minute or two ...")
    return run


def holds_run(folder):
    """Whether a training was started in a folder."""
    return os.path.exists(os.path.join(folder, "config.json"))


def has_checkpoint(folder):
    """Whether a run completed an epoch."""
    return os.path.exists(os.path.join(folder, "checkpoint.npz"))


def is_finished(folder):
    """Whether a run completed all its epochs and left its results."""
    return os.path.exists(os.path.join(folder, "summary.json"))


def stored_settings(folder):
    """The settings of a folder's run, as `config.json` holds them; an empty dict where there is no run."""
    return files.read_json(os.path.join(folder, "config.json")).get("settings", {}) if holds_run(folder) else {}


def default_folder(experiment, dataset, method, seed):
    """results/<experiment>-<dataset>-<method>-seed<seed>-<time>, below the working folder."""
    return os.path.join("results", f"{experiment}-{dataset}-{method}-seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}")


def provenance():
    """Where results come from: the command, the commit, and when it started."""
    script, *arguments = sys.argv
    return {"command": " ".join([os.path.relpath(os.path.abspath(script), PROJECT), *arguments]),
            "git_commit": git_commit(), "started": time.strftime("%Y-%m-%d %H:%M:%S %z")}


def git_commit():
    """The project's commit, with `-dirty` if tracked files differ from it; None outside a git checkout."""
    def git(*arguments):
        return subprocess.run(["git", "-C", PROJECT, *arguments], capture_output=True, text=True, check=True).stdout

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        changes = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "HEAD").strip() + ("-dirty" if changes else "")
    return None


def _require_same_settings(where, found, expected):
    old, new = found.get("settings", {}), json.loads(json.dumps(expected["settings"]))
    differences = [f"{key} is {old.get(key)!r} there, not {new.get(key)!r}"
                   for key in {**old, **new} if old.get(key) != new.get(key)]
    if differences:
        raise UserError(f"{where} is of another run: {'; '.join(differences)}. Give the same flags, or start a new run "
                        "without --resume")
