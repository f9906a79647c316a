"""Finished runs under results/, grouped so that runs that differ in nothing but the seed stand together."""

import glob
import os
from collections import defaultdict, namedtuple

import numpy as np

from utils import files

__all__ = ["Group", "collect", "mean_and_deviation"]

#: What runs of a group share, and their summaries by seed. `start` is what the weights started from, `flags` the
#: hyper-parameters that are not the script's own.
Group = namedtuple("Group", "network method start dataset epochs threshold flags summaries")


def collect(folder="results"):
    """The finished runs below a folder, as a sorted list of :class:`Group`.

    Raises
    ------
    UserError
        if a `summary.json` is damaged.
    """
    groups = defaultdict(list)
    for path in sorted(glob.glob(os.path.join(folder, "*", "summary.json"))):
        summary = files.read_json(path)
        # Runs of the project's first days, when there was no other start, do not name theirs.
        summary.setdefault("start", "random")
        summary["flags"] = " ".join(summary.get("flags", []))
        groups[tuple(summary[key] for key in Group._fields[:-1])].append(summary)
    return [Group(*key, sorted(groups[key], key=lambda summary: summary["seed"])) for key in sorted(groups)]


def mean_and_deviation(values):
    """Mean and sample standard deviation; None instead of the latter for a single value."""
    return np.mean(values), np.std(values, ddof=1) if len(values) > 1 else None
