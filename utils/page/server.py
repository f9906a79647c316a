"""The page by HTTP, with what the runs' folders hold at each moment."""

import contextlib
import ipaddress
import json
import os
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from utils.errors import UserError
from utils.page import document

__all__ = ["serve", "make_server"]

PIECE = 1 << 16     # bytes
_TYPES = {".png": "image/png", ".gif": "image/gif", ".json": "application/json; charset=utf-8",
          ".csv": "text/plain; charset=utf-8", ".txt": "text/plain; charset=utf-8"}


def serve(runs, host, port):
    """Serves the page until Ctrl-C."""
    with make_server(runs, host, port) as server:
        print(f"The page is at {server.url} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def make_server(runs, host="127.0.0.1", port=0):
    """A server of :class:`utils.page.document.Runs`; its `url` says where. Port 0 takes a free one.

    Raises
    ------
    UserError
        if the address cannot be had.
    """
    try:
        server = _Server((host, port), _Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot serve at {host}:{port} ({getattr(error, 'strerror', None) or error}): choose another "
                        "--port or --host") from None
    server.runs = runs
    server.url = f"http://{host}:{server.server_address[1]}/"
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lock = threading.Lock()
        #: A run's number in URLs is its place here; a page of another server's has other numbers.
        self.known, self.id = [], uuid.uuid4().hex

    def href(self, folder):
        if folder not in self.known:
            self.known.append(folder)
        return f"runs/{self.id}/{self.known.index(folder)}/"


class _Handler(BaseHTTPRequestHandler):
    timeout = 30    # seconds in which nothing is read or written

    def do_GET(self):
        """The page, what has changed since a revision, a run's details, or one of its files."""
        if not self._is_meant():
            answer = 403, b"this page is for 127.0.0.1 alone; --host serves others"
        else:
            try:
                with self.server.lock:
                    answer = self._answer(self.path)
            except UserError as error:
                answer = 500, str(error).encode()
        # Without the lock, which a browser that does not read would keep; one may be closed meanwhile.
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._send(*answer)

    def _answer(self, path):
        """(status, body, type), perhaps without the latter."""
        try:
            url = urlsplit(path)
        except ValueError:
            return 400, b"this is no address"
        parts = [unquote(part) for part in url.path.split("/")[1:]]
        server = self.server
        if parts == [""]:
            server.runs.refresh()
            page = document.render(server.runs, server.href, live=server.id)
            return 200, page.encode(), "text/html; charset=utf-8"
        if parts == ["changes"]:
            since = parse_qs(url.query).get("since", ["0"])[0]
            if not re.fullmatch("[0-9]{1,18}", since):
                return 400, b"since is no number of a revision"
            server.runs.refresh()
            return _as_json(self._changes(int(since)))
        if len(parts) >= 4 and parts[:2] == ["runs", server.id] and parts[2] in map(str, range(len(server.known))):
            folder = server.known[int(parts[2])]
            record = server.runs.records.get(folder)
            if record and parts[3:] == ["details"]:
                return _as_json(record.details(server.runs.limits))
            if record:
                return _file(folder, parts[3:])
        return _NOTHING

    def _changes(self, since):
        runs = self.server.runs
        rows = runs.changed_since(since)
        return {"live": self.server.id, "revision": runs.revision, "ids": list(runs.records),
                "broken": list(runs.broken.values()),
                "rows": [{**row, "href": self.server.href(row["id"])} for row in rows]}

    def _is_meant(self):
        """Whether the browser asks for us by an address of this machine: a foreign page must not read ours by DNS."""
        if not _is_loopback(self.server.server_address[0]):
            return True
        try:
            return _is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or "")
        except ValueError:
            return False

    def _send(self, status, body, kind="text/plain; charset=utf-8"):
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", len(body)), ("Cache-Control", "no-store"),
                            ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")):
            self.send_header(name, str(value))
        self.end_headers()
        # In pieces: the time is for each.
        for start in range(0, len(body), PIECE):
            self.wfile.write(body[start:start + PIECE])

    def log_message(self, *arguments):
        """Requests are no news."""


_NOTHING = 404, b"not found"


def _file(folder, parts):
    try:
        root, path = os.path.realpath(folder), os.path.realpath(os.path.join(folder, *parts))
        kind = _TYPES.get(os.path.splitext(path)[1])
        if kind is None or os.path.commonpath([root, path]) != root:
            return _NOTHING
        with open(path, "rb") as file:
            return 200, file.read(), kind
    except (OSError, ValueError):
        return _NOTHING


def _as_json(value):
    return 200, json.dumps(value, allow_nan=False).encode(), "application/json; charset=utf-8"


def _is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
