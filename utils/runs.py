"""A run's folder: configuration, history, log, summary, curves, weights and the last checkpoint."""

import contextlib
import csv
import fcntl
import io
import json
import os
import shlex
import subprocess
import sys
import time

import numpy as np
from tqdm import tqdm

from utils import files, schemas
from utils.errors import UserError, advising
from utils.schemas import FORMAT
from utils.version import VERSION

__all__ = ["Run", "default_folder", "holds_run", "require_no_run", "has_checkpoint", "is_finished", "stored",
           "read_config", "sparsity_columns", "require_same_settings", "provenance", "flattened", "SPARSITY", "LEFT",
           "FORMAT"]

#: With a layer's name behind it, the history's column of that layer's sparsity.
SPARSITY = "sparsity_percent_"
#: What ends the columns of how many words, neurons and so on are left.
LEFT = "_left"
#: Of the environment, what numbers depend on; the number of threads only where operations are Theano's own.
_DECISIVE = ("Theano", "Lasagne", "numpy", "device", "floatX", "blas", "cxxflags")
#: Of the configuration, what is trained; the rest is where and when.
_WHAT = ("settings", "method_title", "prunes", "start_recipe")
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Run:
    """A folder with what one training leaves.

    Parameters
    ----------
    folder : str
        is made if it does not exist
    config : dict
        what the training depends on (`"settings"`, values or sections of values), and where it runs; written to
        `config.json`. Of a run that is resumed, where it began stays, and where it goes on is added to the list
        `"resumed"`.
    resume : bool
        whether the folder may hold a run already, whose settings must then be the same
    defaults : dict
        like the settings: what a setting is that a run does not name, because it was made before there was the flag
    resume_hint : str or None
        the flags that go on with this run; None is `--resume` with its folder

    Raises
    ------
    UserError
        if the folder holds a run and `resume` is False, if it holds another run or a damaged checkpoint, or if a
        training is going on in it.
    """

    def __init__(self, folder, config, resume=False, defaults=None, resume_hint=None):
        self.folder = folder
        self.resume_hint = resume_hint or f"--resume {folder}"
        self.config = {"format": FORMAT, **config}
        self._defaults = defaults or {}
        if not resume:
            require_no_run(self.folder)
        with files.writing(folder):
            os.makedirs(folder, exist_ok=True)
            # Unbuffered: what does not fit on the disk is not written once more when the process ends.
            self._log = open(self.path("log.txt"), "ab", buffering=0)
        try:
            self._begin(config, resume)
        except BaseException:
            self.close()
            raise

    def _begin(self, config, resume):
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is training in {self.folder}: wait for it, or name another folder with "
                            "--output") from None
        if not resume:
            require_no_run(self.folder)      # once more, now that no other process can make one
        elif is_finished(self.folder) and not has_checkpoint(self.folder):
            raise UserError(f"{self.folder} is finished, and its checkpoint is not there: train anew, in another "
                            "folder, by --output")
        if holds_run(self.folder):
            self.config = _stored_config(self.folder)
            require_same_settings(self.folder, self.config["settings"], config["settings"], self._defaults)
            origin = {name: value for name, value in config.items() if name not in _WHAT}
            self.config["resumed"] = [*self.config.get("resumed", []), origin]
        #: The last checkpoint as (arrays, epoch, history, generator), see `save_checkpoint`; None if there is none yet.
        self.checkpoint = self._load_checkpoint() if resume else None
        files.write_json(self.path("config.json"), self.config)
        self._warn_of_another_environment(config)

    def path(self, name):
        """The path of a file in the run's folder."""
        return os.path.join(self.folder, name)

    def log(self, text=""):
        """Writes lines to the terminal, above a progress bar, and to the log file."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
        with files.writing(self.path("log.txt")):
            left = f"{text}\n".encode(errors="replace")
            while left:
                left = left[self._log.write(left):]

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
        meta = {"format": FORMAT, "epoch": epoch, "settings": self.config["settings"], "history": history,
                "generator": generator}
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
            if not isinstance(meta, dict):
                raise ValueError("no JSON object")
        except (KeyError, ValueError, RecursionError):
            raise UserError(f"{path} is not a checkpoint of this project; start a new run without --resume") from None
        _require_this_format(path, meta)
        with advising("without --resume, a new run begins"):
            schemas.check(meta, schemas.Checkpoint, path)
        require_same_settings(path, meta["settings"], self.config["settings"], self._defaults)
        return arrays, meta["epoch"], meta["history"], meta["generator"]

    def _warn_of_another_environment(self, config):
        """Says what else than the settings makes the run's numbers differ from those of one that was never stopped."""
        before, now = (where.get("environment", {}) for where in (self.config, config))
        names = {*_DECISIVE, *(("threads",) if config["settings"].get("training", {}).get("plain_graph") else ())}
        changed = [name for name in before if name in names and before[name] != now.get(name)]
        if changed:
            changes = "; ".join(f"{name} was {before[name]}, now {now.get(name)}" for name in changed)
            self.log("warning: this run goes on elsewhere than it began, and weights may differ in their last bits "
                     f"from those of a run that was never stopped: {changes}")

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

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def require_same_settings(where, found, expected, defaults):
    """`UserError`, which says of `where` what is different, if a run's settings are not the expected ones.

    Parameters
    ----------
    where : str
        a path
    found, expected : dict
        values or sections of values
    defaults : dict
        likewise: what a setting is that one of them does not name
    """
    old, new, defaults = map(flattened, (found, expected, defaults))
    differences = []
    for key in {**old, **new}:
        values = [settings.get(key, defaults.get(key)) for settings in (old, new)]
        if values[0] != values[1]:
            differences.append(f"{key.split('.')[-1]} is {values[0]!r} there, not {values[1]!r}")
    if differences:
        raise UserError(f"{where} is of another run: {'; '.join(differences)}. Give the same flags, or "
                        "start a new run, with another --output")


def _stored_config(folder):
    path = os.path.join(folder, "config.json")
    config = files.read_json(path)
    _require_this_format(path, config)
    return schemas.check(config, schemas.Config, path)


def _require_this_format(path, found):
    form = schemas.check_format(found, path)
    if form != FORMAT:
        raise UserError(f"{path} is of another version of this project (format {form}, this one has {FORMAT}): go on "
                        f"with it at the commit {found.get('git_commit', 'that made it')}, or start a new run without "
                        "--resume")


def sparsity_columns(names):
    """The history's columns that hold a layer's sparsity in percent: {layer name: column}.

    Parameters
    ----------
    names : iterable of str
        all columns, such as a row's keys
    """
    return {name.removeprefix(SPARSITY): name for name in names if name.startswith(SPARSITY)}


def holds_run(folder):
    """Whether a training was started in a folder."""
    return os.path.exists(os.path.join(folder, "config.json"))


def require_no_run(folder):
    """`UserError` if a new run's folder is none, or holds a run or what is left of one."""
    if holds_run(folder):
        raise UserError(f"{folder} holds a run already: go on with it by {shlex.join(['--resume', folder])}, or name "
                        "another folder with --output")
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UserError(f"{folder} is no folder: name another with --output")
    left = [name for name in ("checkpoint.npz", "summary.json", "weights.npz")
            if os.path.lexists(os.path.join(folder, name))]
    if left:
        raise UserError(f"{folder} has a run's {left[0]} and no config.json: restore that from a copy, or name another "
                        "folder with --output")


def has_checkpoint(folder):
    """Whether a run completed an epoch."""
    return os.path.exists(os.path.join(folder, "checkpoint.npz"))


def is_finished(folder):
    """Whether a run completed all its epochs and left its results."""
    return os.path.exists(os.path.join(folder, "summary.json"))


def read_config(folder):
    """What `config.json` holds of a folder's run, settings in sections, of older runs too.

    Raises
    ------
    UserError
        if the file is missing or damaged.
    """
    path = os.path.join(folder, "config.json")
    config = files.read_json(path)
    if schemas.check_format(config, path) == 1:
        schemas.check(config, schemas.ConfigOfFormat1, path)
        config["settings"] = _sections_of_format_1(config["settings"], path)
        schemas.check({**config, "format": FORMAT}, schemas.Config, path)
        return config
    return schemas.check(config, schemas.Config, path)


def named(title):
    """The name of a network or method that format 1 gave by its title."""
    return {"sparsevd": "sparse-vd"}.get(title.lower(), title.lower().replace(" ", "-"))


def width(title, path):
    """The name and the width k of a network that format 1 gave by its title."""
    network, _, k = title.partition(", k = ")
    try:
        return network, float(k or 1)
    except ValueError:
        raise UserError(f"{path} names a network {title[:100]!r} that there is not: restore the file from a copy, or "
                        "remove it") from None


def _sections_of_format_1(old, path):
    title, k = width(old["network"], path)
    # Those of the first days have the method's title and no name of the data.
    method = {"name": named(old["method"])}
    if method["name"] == "sparse-vd":
        method.update((name, old[name]) for name in ("threshold", "parameterization", "log_sigma2", "train_clip")
                      if name in old)
    elif method["name"] == "binary-dropout":
        method["dropout_rate"] = old.get("dropout_rate")
    dataset = {name: old.get(name) for name in ("preprocessing", "random_labels", "variant")}
    return {"experiment": old["experiment"], "network": named(title), "k": k,
            "network_title": old["network"], "method": method,
            "dataset": {"name": old["dataset"], "title": old.get("data", old["dataset"]), **dataset},
            "training": {"epochs": old["epochs"], "seed": old["seed"], "batch_size": old["batch_size"]}}


def default_folder(experiment, dataset, method, seed):
    """results/<experiment>-<dataset>-<method>-seed<seed>-<time>, below the working folder."""
    return os.path.join("results", f"{experiment}-{dataset}-{method}-seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}")


def stored(folder, name):
    """The path of a file in a finished run's folder; `UserError` if it is not there."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        raise UserError(f"{folder} holds no {name}: " + (
            "it is finished, but its weights were not kept (as in results/); train it again"
            if is_finished(folder) else "it is the folder of no finished run"))
    return path


def provenance():
    """Where results come from: the command, the project's version and commit, and when it started."""
    script, *arguments = sys.argv
    return {"command": shlex.join([os.path.relpath(os.path.abspath(script), PROJECT), *arguments]),
            "version": VERSION, "git_commit": git_commit(), "started": time.strftime("%Y-%m-%d %H:%M:%S %z")}


def git_commit():
    """The project's commit, with `-dirty` if tracked files differ from it; None outside a git checkout."""
    def git(*arguments):
        # Not of a repository around the project, such as one that keeps a home directory.
        return subprocess.run(["git", "-C", PROJECT, *arguments], capture_output=True, text=True, check=True,
                              env={**os.environ, "GIT_CEILING_DIRECTORIES": os.path.dirname(PROJECT)}).stdout

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        changes = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "HEAD").strip() + ("-dirty" if changes else "")
    return None


def flattened(settings):
    """Sections of values as one dict, {"section.key": value}, with JSON's types."""
    flat = {}
    for key, value in json.loads(json.dumps(settings)).items():
        # A schedule is a value.
        if isinstance(value, dict) and "schedule" not in value:
            flat.update((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            flat[key] = value
    return flat
