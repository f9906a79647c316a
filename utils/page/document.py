"""The page: its HTML from a template, and the runs that it shows."""

import base64
import gzip
import hashlib
import importlib.util
import json
import os
import sys
import time
from urllib.parse import quote

from utils import files
from utils.errors import UserError
from utils.page import records

__all__ = ["Runs", "render", "write"]

#: Characters of all runs' details; plotly's script takes another 5 MB.
_MOST = 9_500_000
_SCRIPTS = ("text", "charts", "overview", "run", "compare", "main")
_HERE = os.path.dirname(os.path.abspath(__file__))


class Runs:
    """The runs below folders, read again when their files change.

    Attributes
    ----------
    records : dict
        run's id -> :class:`utils.page.records.Record`, in the order of the folders
    broken : dict
        folder -> what is wrong with the run in it
    revision : int
        counts the changes

    Parameters
    ----------
    folders : list of str
        see :func:`utils.page.records.find`
    """

    def __init__(self, folders):
        self._folders = folders
        self._stamps, self._changed = {}, {}
        self.records, self.broken, self.revision = {}, {}, 0
        self.refresh()

    def refresh(self):
        """Reads what is new or has changed; a run that cannot be read is named on stderr, once, and left out."""
        found = records.find(self._folders)
        for folder in set(self._stamps) - set(found):
            self._forget(folder)
            del self._stamps[folder]
        for folder in found:
            stamp = records.stamp(folder)
            known = self.records.get(folder)
            # A training that is stopped leaves no trace.
            idle = known is None or known.row["status"] == known.status()
            if stamp == self._stamps.get(folder) and idle:
                continue
            self._stamps[folder] = stamp
            self._forget(folder)
            self.revision += 1
            self._changed[folder] = self.revision
            try:
                self.records[folder] = records.Record(folder)
            except UserError as error:
                self.broken[folder] = str(error)
                print(f"warning: {error}", file=sys.stderr)

    def _forget(self, folder):
        if self.records.pop(folder, None) or self.broken.pop(folder, None):
            self.revision += 1

    def changed_since(self, revision):
        """The rows that are new or have changed since a revision."""
        return [record.row for folder, record in self.records.items() if self._changed[folder] > revision]

    @property
    def limits(self):
        """How much of a run a page of all of them can hold."""
        return records.Limits(len(self.records))


def render(runs, href, live=False):
    """The page.

    Parameters
    ----------
    runs : :class:`Runs`
    href : callable(folder) -> str
        the URL of a run's folder, with a slash at its end
    live : str or False
        the name of the server that gives details and what changes later; otherwise all is in the page

    Raises
    ------
    UserError
        if plotly or jinja2 is not installed.
    """
    _require("plotly", "jinja2")
    import jinja2
    from plotly.offline import get_plotlyjs

    data = {"live": live, "revision": runs.revision, "written": time.strftime("%Y-%m-%d %H:%M"),
            "rows": [{**record.row, "href": href(record.folder)} for record in runs.records.values()],
            "published": records.references(), "broken": list(runs.broken.values())}
    # Apart from the rest, which can then be shown before they have been read.
    details = [] if live else _details(runs)
    script = "\n".join(_read(os.path.join("script", f"{name}.js")) for name in _SCRIPTS)
    scripts = {"plotly": get_plotlyjs(), "script": script}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    # No script but these two runs, whatever a run's files say.
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                      for text in scripts.values())
    return environment.get_template("page.html").render(data=data, details=details, style=_read("page.css"),
                                                        hashes=hashes, live=bool(live), **scripts)


def write(runs, path):
    """Writes the page, whose links to the runs' files are relative."""
    start = os.path.dirname(os.path.abspath(path))
    text = render(runs, lambda folder: quote(os.path.relpath(folder, start)) + "/")
    with files.atomic_write(path) as file:
        file.write(text.encode())


def _details(runs):
    """[(run's id, packed details)], with fewer points of the curves until the page has room for them."""
    count = len(runs.records)
    while True:
        limits = records.Limits(count)
        found = [(record.id, _packed(record.details(limits))) for record in runs.records.values()]
        if sum(len(text) for _, text in found) <= _MOST or limits.points == limits.LEAST:
            return found
        count *= 2


def _packed(value):
    """JSON's gzip in base64, which browsers read by themselves."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(text, 9, mtime=0)).decode()


def _read(name):
    with open(os.path.join(_HERE, name)) as file:
        return file.read()


def _require(*names):
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the page needs {' and '.join(missing)}: pip install -r requirements.txt")
