"""Finished runs under results/, grouped so that runs that differ in nothing but the seed stand together."""

import csv
import glob
import os
from collections import defaultdict, namedtuple

import numpy as np

from utils import files
from utils.errors import UserError

__all__ = ["Group", "collect", "history", "mean_and_deviation"]

#: What runs of a group share, and their summaries by seed, each with its `folder`. `start` is what the weights started
#: from, `flags` the hyper-parameters that are not the script's own.
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
        summary["folder"] = os.path.dirname(path)
        groups[tuple(summary[key] for key in Group._fields[:-1])].append(summary)
    return [Group(*key, sorted(groups[key], key=lambda summary: summary["seed"])) for key in sorted(groups)]


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
