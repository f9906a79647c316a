"""The one exception whose text is meant for the user."""

import contextlib

__all__ = ["UserError", "advising"]


class UserError(Exception):
    """Something that the user can mend. Its text is one line that says what is wrong and what to do.

    The experiment scripts print it without a traceback and exit with status 1. What stands in the text from a file, or
    from another library's error, may be of several lines and hold control characters; the text does not.
    """

    def __init__(self, text):
        line = " ".join(str(text).split())
        super().__init__("".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode()
                                 for sign in line))


@contextlib.contextmanager
def advising(advice):
    """Adds to the text of a :class:`UserError` from the block what only the caller knows: what to do about it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error
