"""What the page shows of a run's folder, as JSON's types."""

import contextlib
import glob
import json
import math
import os
import re
import shlex
import time
from urllib.parse import quote

import numpy as np

from utils import files, published, results, runs
from utils.compression import LayerSparsity, total
from utils.errors import UserError
from utils.flags import spelled

__all__ = ["Limits", "Record", "find", "references", "stamp"]

#: What a record is made of.
PARTS = ("config.json", "summary.json", "history.csv", "thresholds.json", "log.txt", "snapshots")
#: Flags that do not change what is trained, and how many values they take.
_APART = {"--output": 1, "--resume": 1, "--data-dir": 1, "--seed": 1, "--snapshots": 0, "--dataset": 1, "--method": 1}
_EPOCH = re.compile(r"^\s*(\d+/\d+|epoch)\s")
_DIGITS = 4
#: Columns of the history that curves show.
_SHOWN = {"epoch", "train_error_percent", "valid_error_percent", "test_error_percent", "train_loss", "train_nll",
          "valid_nll", "test_nll", "valid_bits", "test_bits", "valid_perplexity", "test_perplexity", "compression"}


class Limits:
    """How much of a run a page of many runs can hold.

    Parameters
    ----------
    count : int
        of runs on the page

    Attributes
    ----------
    points : int
        of a curve
    log : int
        characters
    """

    LEAST = 30

    def __init__(self, count):
        self.points = int(np.clip(150_000 // max(count, 1), self.LEAST, 1000))
        self.log = int(np.clip(2_000_000 // max(count, 1), 2_000, 100_000))


class Record:
    """A run as the page shows it.

    Parameters
    ----------
    folder : str

    Attributes
    ----------
    id : str
        the folder
    row : dict
        what the table shows of it

    Raises
    ------
    UserError
        if a file of the run is missing or damaged.
    """

    def __init__(self, folder):
        self.id, self.folder = folder, folder
        self.stamp = stamp(folder)
        with _refusing(folder):
            self._read()
        # A run whose own view cannot be shown is left out by itself, not with all others.
        self.details(Limits(10 ** 9))

    def _read(self):
        folder = self.folder
        self._config = runs.read_config(folder) if runs.holds_run(folder) else {"settings": {}}
        finished = runs.is_finished(folder)
        path = os.path.join(folder, "history.csv")
        self._history = results.history(folder) if os.path.exists(path) else []
        self._summary = results.read_summary(folder) if finished else _unfinished(self._config, self._history)
        self._thresholds = _thresholds(folder)
        self._settings = self._all_settings()
        summary, history = self._summary, self._history
        self.layers = [LayerSparsity(str(name), _number(weights), _number(summary["nonzero"][name]))
                       for name, weights in summary.get("weights", {}).items()]
        sparsity = summary.get("sparsity_percent_total")
        if sparsity is None and self.layers:
            sparsity = total(self.layers).sparsity_percent
        texts = {key: _text(summary[f"{key}_title"]) for key in ("network", "method", "dataset", "start")}
        self.row = {
            "id": self.id, "name": os.path.basename(os.path.normpath(folder)), **texts,
            "status": self.status(),
            "flags": _text(summary["flags_shown"]), "seed": _text(summary["seed"]),
            "epochs": _number(summary["epochs"]), "done": len(history),
            "error": _number(summary["test_error_percent"]),
            "train_error": _number(summary.get("final_train_error_percent")),
            "measure": next((_number(found[key]) for found in (summary, *history[-1:])
                             for key in ("test_bits", "test_perplexity") if key in found), None),
            "sparsity": _number(sparsity), "compression": _number(summary["compression"]),
            "prunes": bool(summary["prunes"]), "seconds": sum(row.get("seconds", 0) for row in history),
            "started": _text(self._config.get("started", "")),
            "group": json.dumps([results.recipe(summary), None if finished else self.id])}

    def status(self):
        """"finished", "training" or "stopped", as of now."""
        return "finished" if runs.is_finished(self.folder) else _training(self.folder, self._history)

    def details(self, limits):
        """What the run's own view shows, of a size within the :class:`Limits`; errors as of the class."""
        with _refusing(self.folder):
            return {
                "history": _columns(self._history, limits.points), "epochs": len(self._history),
                "layers": [[*layer, layer.sparsity_percent, _number(layer.compression)] for layer in self.layers],
                "settings": self._settings, "command": _text(self._config.get("command", "")),
                "commit": _text(self._summary.get("git_commit") or self._config.get("git_commit") or ""),
                "environment": [[_text(name), _text(value)]
                                for name, value in self._config.get("environment", {}).items()],
                "threshold": _number(self._summary.get("threshold", self._config["settings"].get("method", {})
                                                       .get("threshold"))),
                "thresholds": self._thresholds, "log": _log(self.folder, limits.log), "files": _files(self.folder)}

    def _all_settings(self):
        """[["section.name", text]]; of runs of format 1 also what the sections of today have no place for."""
        found = runs.flattened(self._config["settings"])
        if self._config.get("format", 1) == 1 and found:
            known = {name.rpartition(".")[2] for name in found}
            raw = files.read_json(os.path.join(self.folder, "config.json"))["settings"]
            found.update((name, value) for name, value in raw.items()
                         if name not in (*known, "network", "method", "dataset", "data", "data_fingerprint"))
        return [[_text(name), _spelled(value)] for name, value in found.items()]


def find(folders):
    """The folders of runs: the given ones that are runs, and those in the given ones; each once, in order.

    Raises
    ------
    UserError
        if a folder does not exist.
    """
    found = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise UserError(f"{folder} is no folder: name folders that hold runs, such as results")
        # Not by scandir, which asks no further where links lead in a circle.
        inside = sorted(filter(os.path.isdir, (os.path.join(folder, name) for name in os.listdir(folder))))
        for path in [folder] if _is_run(folder) else filter(_is_run, inside):
            found.setdefault(os.path.realpath(path), os.path.normpath(path))
    return list(found.values())


def stamp(folder):
    """A value that changes when a run's files do."""
    found = []
    for name in PARTS:
        try:
            status = os.stat(os.path.join(folder, name))
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


def references():
    """Published rows in the form of a run's `row`, with the `source`."""
    rows = [(row.network_title, row.method_title, row.dataset, row.error_percent,
             _to_sparsity(row.compression), row.compression, "paper") for row in published.rows()]
    rows += [(row.network_title, row.method_title, f"{row.dataset} (random labels)", 100 - 100 * row.test_accuracy,
              row.sparsity_percent, _from_sparsity(row.sparsity_percent), "paper") for row in published.RANDOM_LABELS]
    rows += [("Logistic regression", row.method_title, row.dataset, 100 - 100 * row.test_accuracy,
              row.sparsity_percent, _from_sparsity(row.sparsity_percent), "poster")
             for row in published.LOGISTIC_REGRESSION]
    rows += [(row.network_title, row.method_title, row.dataset, row.error_percent, _to_sparsity(row.compression),
              row.compression, row.source) for row in published.FRONTIER]
    keys = ("network", "method", "dataset", "error", "sparsity", "compression", "source")
    return [{"id": f"published/{number}", **dict(zip(keys, row))} for number, row in enumerate(rows)]


@contextlib.contextmanager
def _refusing(folder):
    """Turns what unexpected files of a run raise into a :class:`UserError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        raise UserError(f"{folder} is no run as this version leaves them ({type(error).__name__}: {error}): "
                        "restore it from a copy, or remove the folder") from None


def _is_run(folder):
    return runs.holds_run(folder) or runs.is_finished(folder)


def _unfinished(config, history):
    """What `summary.json` would hold, as far as it is known."""
    settings = config["settings"]
    method, dataset, training = (settings[name] for name in ("method", "dataset", "training"))
    last = history[-1] if history else {}
    start = settings.get("start", {})
    start = start.get("title", "random") if isinstance(start, dict) else start
    return {"network": settings["network"], "k": settings.get("k", 1.0), "network_title": settings["network_title"],
            "method": method["name"],
            "method_title": config.get("method_title", published.method_title(method["name"])),
            "start": start, "start_title": start, "dataset_title": dataset.get("title", dataset["name"]),
            "seed": training["seed"], "epochs": training["epochs"], "flags": {},
            "flags_shown": _flags(config.get("command", "")), "test_error_percent": last.get("test_error_percent"),
            "compression": last.get("compression"), "prunes": config.get("prunes", last.get("compression", 1) != 1),
            "sparsity_percent_total": _to_sparsity(last["compression"]) if last.get("compression") else None}


def _flags(command):
    """The flags of a command that decide what is trained."""
    kept, skip = [], 0
    try:
        words = shlex.split(command)
    except ValueError:      # it was not quoted in the first versions
        words = command.split()
    for word in words[1:]:
        if word in _APART:
            skip = _APART[word]
        elif skip:
            skip -= 1
        else:
            kept.append(word)
    return " ".join(kept)


def _training(folder, history):
    """Whether a run that is not finished goes on: a lock would say it for sure, but to ask for it could stop one."""
    newest = max((status[0] for status in stamp(folder) if status), default=0) / 1e9
    patience = max(120, 3 * history[-1].get("seconds", 0)) if history else 1800
    return "training" if time.time() - newest < patience else "stopped"


def _columns(history, points):
    """{column: values} that curves show, of at most so many epochs, to a few digits; what is not finite is None."""
    if not history:
        return {}
    chosen = np.unique(np.linspace(0, len(history) - 1, min(points, len(history))).round().astype(int))
    return {name: _rounded([history[number][name] for number in chosen]) for name in history[0]
            if name in _SHOWN or name.startswith(runs.SPARSITY) or name.endswith(runs.LEFT)}


def _rounded(values):
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values]


def _thresholds(folder):
    path = os.path.join(folder, "thresholds.json")
    if not os.path.exists(path):
        return None
    found = results.read_thresholds(folder)
    rows = sorted(([_number(row[key]) for key in ("threshold", "error_percent", "compression", "nonzero")]
                   for row in found["thresholds"]), key=lambda row: row[0])
    return {"images": _text(found["images"]), "rows": rows, "edges": _rounded(found["edges"]),
            "histogram": [[_text(layer), [int(count) for count in counts]]
                          for layer, counts in found["histogram"].items()]}


def _log(folder, most):
    """The log, without the rows of epochs or its middle if it is too long; None where there is none."""
    try:
        with open(os.path.join(folder, "log.txt"), errors="replace") as file:
            text = file.read(files.LARGEST_TEXT)
    except FileNotFoundError:
        return None
    if len(text) > most:
        lines = text.splitlines()
        text = "\n".join(line for line in lines if not _EPOCH.match(line))
        if len(text) <= most:
            text += "\n(without the table of epochs)"
    if len(text) > most:
        text = f"{text[:most // 2]}\n(...)\n{text[-most // 2:]}"
    return text


def _files(folder):
    """[[name, URL relative to the folder]] of the files that a browser can show."""
    paths = [path for pattern in ("*", os.path.join("snapshots", "*"))
             for path in sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
             if path.endswith((".png", ".gif", ".json", ".csv", ".txt"))]
    names = [os.path.relpath(path, folder) for path in paths]
    return [[name, quote(name)] for name in names]


def _number(value):
    """A finite number, or None; anything else is no number of a run."""
    if value is None or isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if value is not None and math.isfinite(value) else None
    raise ValueError(f"{value!r} is no number")


def _spelled(value):
    """A setting's value; a schedule as its parts."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_spelled(inner)}" for name, inner in value.items())
    return _text(spelled(value))


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


def _to_sparsity(compression):
    return 100 - 100 / compression


def _from_sparsity(percent):
    return 100 / (100 - percent) if percent is not None and percent < 100 else None
