"""A table on the terminal that is renewed while work goes on."""

import shutil
import sys
import time

__all__ = ["Display"]

#: Seconds between tables where the output is no terminal.
TABLE_EVERY = 60


class Display:
    """Lines that stay, and below them a table that is renewed; where the output is no terminal, now and then."""

    def __init__(self):
        self._lines, self._next = 0, time.monotonic() + TABLE_EVERY

    def line(self, text):
        self.clear()
        print(text, flush=True)

    def table(self, text):
        if sys.stdout.isatty():
            self.clear()
            width, height = shutil.get_terminal_size()
            lines = [line[:width - 1] for line in text.splitlines()][-(height - 1):]
            self._lines = len(lines)
            print("\n".join(lines), flush=True)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + TABLE_EVERY
            print(text + "\n", flush=True)

    def clear(self):
        if self._lines:
            print(f"\x1b[{self._lines}A\x1b[J", end="", flush=True)
            self._lines = 0
