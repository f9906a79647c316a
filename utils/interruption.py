"""Ctrl-C and SIGTERM as a wish, so that work can end where nothing is lost."""

import signal

__all__ = ["Interruption"]


class Interruption:
    """While active, each Ctrl-C or SIGTERM only counts up `asked`, and calls `told` with the count.

    Parameters
    ----------
    told : callable(int)
        tells the user; may raise, to end at once
    """

    def __init__(self, told):
        self.asked, self._told = 0, told

    def __enter__(self):
        self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        self.asked += 1
        self._told(self.asked)
