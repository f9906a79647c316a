"""Finished runs under results/, grouped so that runs that differ in nothing but the seed stand together."""

import csv
import glob
import json
import os
from collections import defaultdict, namedtuple

import numpy as np

from utils import files, runs
from utils.errors import UserError

__all__ = ["Group", "collect", "read_summary", "history", "mean_and_deviation"]

_KEYS = ("network", "k", "method", "start", "dataset_title", "epochs", "flags")


class Group(namedtuple("Group", (*_KEYS, "summaries"))):
    """Runs that differ in the seed alone.

    `network`, `method` : names; `k` : width; `start` : what the weights started from, a name, or "random"; `flags` : as
    JSON, {name: value} of the hyper-parameters that are not the script's own; `summaries` : by seed, each with its
    `folder`.
    """

    __slots__ = ()

    def __getattr__(self, key):
        """What all runs of the group have in common, such as `method_title`, `dataset` (its name), `random_labels`."""
        try:
            return self.summaries[0][key]
        except KeyError:
            raise AttributeError(key) from None

    @property
    def values(self):
        """`flags` as a dict."""
        return json.loads(self.flags)


def collect(folder="results"):
    """The finished runs below a folder, as a list of :class:`Group`, sorted by their titles.

    Raises
    ------
    UserError
        if a `summary.json` is damaged.
    """
    groups = defaultdict(list)
    for path in sorted(glob.glob(os.path.join(folder, "*", "summary.json"))):
        summary = read_summary(os.path.dirname(path))
        key = tuple(json.dumps(summary[key], sort_keys=True) if key == "flags" else summary[key] for key in _KEYS)
        groups[key].append(summary)
    found = [Group(*key, sorted(own, key=lambda summary: summary["seed"])) for key, own in groups.items()]
    return sorted(found, key=lambda group: (group.network_title, group.method_title, group.start_title,
                                            group.dataset_title, group.epochs, group.flags_shown))


def read_summary(folder):
    """What `summary.json` holds of a folder's run, and the `folder`; of older runs too, as if they were new.

    Raises
    ------
    UserError
        if the file is missing or damaged.
    """
    path = os.path.join(folder, "summary.json")
    summary = files.read_json(path)
    try:
        if summary.get("format", 1) == 1:
            summary = _from_format_1(summary)
        missing = [key for key in (*_KEYS, "network_title", "method_title", "start_title", "flags_shown", "prunes",
                                   "dataset", "seed") if key not in summary]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no summary of a run ({type(error).__name__}: {error}): restore it from a copy, or "
                        "remove the folder") from None
    return {**summary, "folder": folder}


def _from_format_1(old):
    """Runs of the project's first months had titles in the place of names."""
    network, _, k = old["network"].partition(", k = ")
    method, *_ = old["method"].split(",")
    dataset, _, remarks = old["dataset"].partition(" (")
    flags = {}
    for text in old.get("flags", []):
        name, _, value = text.removeprefix("--").partition(" ")
        flags[name.removeprefix("no-").replace("-", "_")] = value if value else not name.startswith("no-")
    if old["method"] != method:
        flags["parameterization"] = "multiplicative"
    shown = list(old.get("flags", []))
    if runs.named(network) in ("lenet-5-caffe", "vgg-like"):
        # Their convolutions kept the noise of pruned weights, and dense ones started from Glorot's distribution.
        flags["earlier_code"] = True
        shown.insert(0, "earlier code")
    # Those of the first days do not name their start, as there was no other.
    start = old.get("start", "random")
    return {**old, "network": runs.named(network), "k": float(k or 1), "network_title": old["network"],
            "method": runs.named(method), "method_title": old["method"], "prunes": method == "SparseVD",
            "dataset": dataset, "dataset_title": old["dataset"], "random_labels": "random labels" in remarks,
            "validation": None, "start": runs.named(start), "start_title": start, "flags": flags,
            "flags_shown": " ".join(shown)}


def history(folder):
    """The rows of a run's `history.csv`: a list of dicts of numbers.

    Raises
    ------
    UserError
        if the file is missing or damaged.
    """
    path = os.path.join(folder, "history.csv")
    try:
        with open(path, newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {path} ({error}): restore it, or remove the run's folder") from None


def mean_and_deviation(values):
    """Mean and sample standard deviation; None instead of the latter for a single value."""
    return np.mean(values), np.std(values, ddof=1) if len(values) > 1 else None
