"""The page by HTTP, with what the runs' folders hold at each moment."""

import ipaddress
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from utils.errors import UserError
from utils.page import document

__all__ = ["serve", "make_server"]

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
        #: A run's number in URLs is its place here.
        self.known = []

    def href(self, folder):
        if folder not in self.known:
            self.known.append(folder)
        return f"runs/{self.known.index(folder)}/"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        """The page, what has changed since a revision, a run's details, or one of its files."""
        if not self._is_meant():
            return self._send(403, b"this page is for 127.0.0.1 alone; --host serves others")
        try:
            self._answer(urlsplit(self.path))
        except UserError as error:
            self._send(500, str(error).encode())

    def _answer(self, url):
        parts = [unquote(part) for part in url.path.split("/")[1:]]
        server = self.server
        with server.lock:
            if parts == [""]:
                server.runs.refresh()
                return self._send(200, document.render(server.runs, server.href, live=True).encode(),
                                  "text/html; charset=utf-8")
            if parts == ["changes"]:
                server.runs.refresh()
                return self._send_json(self._changes(parse_qs(url.query).get("since", ["0"])[0]))
            if len(parts) >= 3 and parts[0] == "runs" and parts[1].isdecimal() and int(parts[1]) < len(server.known):
                folder = server.known[int(parts[1])]
                record = server.runs.records.get(folder)
                if record and parts[2:] == ["details"]:
                    return self._send_json(record.details(server.runs.limits))
                if record:
                    return self._send_file(folder, parts[2:])
        self._send(404, b"not found")

    def _changes(self, since):
        runs = self.server.runs
        rows = runs.changed_since(int(since) if since.isdecimal() else 0)
        return {"revision": runs.revision, "ids": list(runs.records), "broken": list(runs.broken.values()),
                "rows": [{**row, "href": self.server.href(row["id"])} for row in rows]}

    def _is_meant(self):
        """Whether the browser asks for us by an address of this machine: a foreign page must not read ours by DNS."""
        if not _is_loopback(self.server.server_address[0]):
            return True
        return _is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or "")

    def _send_file(self, folder, parts):
        root, path = os.path.realpath(folder), os.path.realpath(os.path.join(folder, *parts))
        kind = _TYPES.get(os.path.splitext(path)[1])
        if kind is None or os.path.commonpath([root, path]) != root:
            return self._send(404, b"not found")
        try:
            with open(path, "rb") as file:
                self._send(200, file.read(), kind)
        except (OSError, ValueError):
            self._send(404, b"not found")

    def _send_json(self, value):
        self._send(200, json.dumps(value, allow_nan=False).encode(), "application/json; charset=utf-8")

    def _send(self, status, body, kind="text/plain; charset=utf-8"):
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", len(body)), ("Cache-Control", "no-store"),
                            ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Requests are no news."""


def _is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
