"""The one exception whose text is meant for the user."""

__all__ = ["UserError"]


class UserError(Exception):
    """Something that the user can mend. Its text is one line that says what is wrong and what to do.

    The experiment scripts print it without a traceback and exit with status 1.
    """
