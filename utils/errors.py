"""The one exception whose text is meant for the user."""

import contextlib

__all__ = ["UserError", "advising"]


class UserError(Exception):
    """Something that the user can mend. Its text is one line that says what is wrong and what to do.

    The experiment scripts print it without a traceback and exit with status 1.
    """


@contextlib.contextmanager
def advising(advice):
    """Adds to the text of a :class:`UserError` from the block what only the caller knows: what to do about it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error
