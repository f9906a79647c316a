"""Finished runs under results/, grouped so that runs that differ in nothing but the seed stand together."""

import csv
import glob
import json
import os
import sys
from collections import Counter, defaultdict, namedtuple

import numpy as np

from utils import files, runs, schemas
from utils.compression import LayerSparsity, total
from utils.errors import UserError
from utils.flags import typed

__all__ = ["Group", "collect", "readable", "recipe", "read_baselines", "read_gradient_variance", "read_summary",
           "read_thresholds", "history", "mean_and_deviation"]

_KEYS = ("network", "k", "method", "start", "dataset_title", "epochs", "flags")
_RECIPES = ("start_recipe", "teacher_recipe")
#: Scripts that train as another one does, and do more beside it.
_SAME_SCRIPT = {"gradient_variance": "lenet_300_100"}


class Group(namedtuple("Group", (*_KEYS, "recipe", "origin", "summaries"))):
    """Runs that differ in the seed alone.

    `network`, `method` : names; `k` : width; `start` : what the weights started from, a name, or "random"; `flags` : as
    JSON, {name: value} of the hyper-parameters that are not the script's own; `recipe` : see :func:`recipe`; `origin` :
    of the script, and of the runs that these started from or learned from, what tells this group from others that agree
    in all before, as text, or ""; `summaries` : by seed, each with its `folder`.
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
    """The finished runs in a folder, not deeper, as a list of :class:`Group`, sorted by their titles.

    A run with a file that is damaged is named on stderr and left out.
    """
    groups = defaultdict(lambda: defaultdict(list))
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*", "summary.json")))
    for summary in readable(_read_run, map(os.path.dirname, paths)):
        key = tuple(json.dumps(summary[key], sort_keys=True) if key == "flags" else summary[key] for key in _KEYS)
        groups[key][json.dumps(recipe(summary), sort_keys=True)].append(summary)
    found = []
    for key, by_recipe in groups.items():
        joined = [_alike(own) for own in _joined(by_recipe.values())]
        recipes = [recipe(own[0]) for own in joined]
        found += [Group(*key, *told, sorted(own, key=lambda summary: summary["seed"]))
                  for *told, own in zip(recipes, _told_apart(recipes), joined)]
    return sorted(found, key=lambda group: (group.network_title, group.method_title, group.start_title,
                                            group.dataset_title, group.epochs, group.flags_shown, group.origin))


def _alike(summaries):
    """Those of a group without the few that are of other layers or measures than most, which are named on stderr."""
    def told(summary):
        measured = (key for key in summary if key.startswith("valid_"))
        return tuple(summary["weights"]), frozenset(measured), frozenset(summary.get("parts", ()))
    usual = Counter(map(told, summaries)).most_common(1)[0][0]

    def read(summary):
        if told(summary) != usual:
            raise UserError(f"{os.path.join(summary['folder'], 'summary.json')} has other layers or measures than the "
                            "other runs of its flags: restore it from a copy, or remove the folder")
        return summary
    return list(readable(read, summaries))


def _joined(groups):
    """Of lists of summaries, those of before recipes were kept behind the only ones that they can belong to."""
    groups = list(groups)
    for old in list(groups):
        fitting = [new for new in groups if new is not old and _says_more(recipe(new[0]), recipe(old[0]))]
        if len(fitting) == 1:
            fitting[0].extend(old)
            groups.remove(old)
    return groups


def _says_more(one, other):
    """Whether a recipe is the other one but for what that does not know."""
    return one != other and all(_agree(key, one.get(key), other.get(key)) for key in {**one, **other})


def _agree(key, more, less):
    if more == less:
        return True
    unknown = key in ("experiment", *_RECIPES) and more is not None
    return unknown and (less is None or isinstance(more, dict) and _says_more(more, less))


def _told_apart(recipes):
    """For each recipe, what its script and those that its runs started from or learned from have, and others' have not,
    as text."""
    scripts = [[f"{one['experiment']}.py"] if one["experiment"] else [] for one in recipes]
    return [", ".join(script + origin) for script, origin in zip(_unshared(scripts), _unshared(map(_origins, recipes)))]


def _unshared(lists):
    """Each list of texts without what all have, but for those that are empty."""
    lists = list(lists)
    known = [set(own) for own in lists if own]
    shared = set.intersection(*known) if known else set()
    return [[part for part in own if part not in shared] for own in lists]


def _origins(recipe):
    """What there is to say of them, the nearest first: a list of texts."""
    found = []
    for origin in (recipe[key] for key in _RECIPES if recipe[key]):
        script = origin.get("experiment")
        flags = " ".join(typed("--" + name.replace("_", "-"), value) for name, value in origin["flags"].items())
        found += [script and f"{script}.py", origin["network"], f"k = {origin['k']:g}", origin["method"],
                  origin["dataset_title"], f"{origin['epochs']} epochs", flags, *_origins(origin)]
    return [part for part in found if part]


def recipe(summary):
    """What runs that differ in the seed alone have in common, with the recipes of the runs that they started from and
    learned from; None where there is none, and in summaries from before they were kept there.

    The script is a part of it, as flags are what is not the script's own.
    """
    script = summary.get("experiment")
    return {"experiment": _SAME_SCRIPT.get(script, script), **{key: summary.get(key) for key in (*_KEYS, *_RECIPES)}}


_warned = set()


def readable(read, paths):
    """What `read` returns of each path, without those that it raises :class:`UserError` for: these are named on stderr.

    Parameters
    ----------
    read : callable(path)
    paths : iterable
    """
    for path in paths:
        try:
            found = read(path)
        except UserError as error:
            # Once a process, however often it asks.
            if str(error) not in _warned:
                _warned.add(str(error))
                print(f"warning: skipped: {error}", file=sys.stderr)
        else:
            yield found


def _read_run(folder):
    """The summary of a run all of whose files for tables and figures can be read."""
    summary = read_summary(folder)
    for name, read in (("config.json", runs.read_config), ("baselines.json", read_baselines),
                       ("gradient_variance.json", read_gradient_variance), ("thresholds.json", read_thresholds)):
        if os.path.exists(os.path.join(folder, name)):
            read(folder)
    path = os.path.join(folder, "history.csv")
    if os.path.exists(path) and len(history(folder)) != summary["epochs"]:
        raise UserError(f"{path} is not of {summary['epochs']} epochs, as the run's summary is: restore it from a "
                        "copy, or remove the folder")
    return summary


def read_baselines(folder):
    """A run's `baselines.json`; UserError if it is missing or damaged."""
    return _read(folder, "baselines.json", schemas.Baselines)


def read_gradient_variance(folder):
    """A run's `gradient_variance.json`; UserError if it is missing or damaged."""
    return _read(folder, "gradient_variance.json", schemas.GradientVariance)


def read_thresholds(folder):
    """A run's `thresholds.json`; UserError if it is missing or damaged."""
    return _read(folder, "thresholds.json", schemas.Thresholds)


def _read(folder, name, kind):
    path = os.path.join(folder, name)
    return schemas.check(files.read_json(path), kind, path)


def read_summary(folder):
    """What `summary.json` holds of a folder's run, and the `folder`; of older runs too, as if they were new.

    Raises
    ------
    UserError
        if the file is missing or damaged.
    """
    path = os.path.join(folder, "summary.json")
    summary = files.read_json(path)
    if schemas.check_format(summary, path) == 1:
        summary = _from_format_1(schemas.check(summary, schemas.SummaryOfFormat1, path), path)
    if "experiment" not in summary and runs.holds_run(folder):
        summary = {**summary, "experiment": runs.read_config(folder)["settings"]["experiment"]}
    return {**schemas.check(summary, schemas.Summary, path), "folder": folder}


def _from_format_1(old, path):
    """Runs of the project's first months had titles in the place of names."""
    network, k = runs.width(old["network"], path)
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
    # Those of the first days do not name their start, as there was no other, and lack what the numbers of weights tell.
    start = old.get("start", "random")
    layers = [LayerSparsity(name, weights, old["nonzero"].get(name, 0)) for name, weights in old["weights"].items()]
    told = {"sparsity_percent_total": total(layers).sparsity_percent if layers else 0.0,
            "compression_by_layer": {layer.name: layer.compression if layer.nonzero else None for layer in layers}}
    return {**told, **old, "network": runs.named(network), "k": k, "network_title": old["network"],
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
        lines = csv.DictReader(files.read_text(path).splitlines())
        rows = [{name: float(value) for name, value in row.items()} for row in lines]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        files.refuse_unreadable(path, error)
        raise UserError(f"cannot read {path} ({error}): restore it, or remove the run's folder") from None
    return schemas.check_history(rows, path)


def mean_and_deviation(values):
    """Mean and sample standard deviation; None instead of the latter where all values are the same, or there is one."""
    return np.mean(values), np.std(values, ddof=1) if len(set(values)) > 1 else None
