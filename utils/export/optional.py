"""Packages that only some forms of a network need."""

import importlib

from utils.errors import UserError

__all__ = ["require"]


def require(name):
    """Imports an optional package; `UserError` says what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name.partition('.')[0]} is needed for this and cannot be imported ({error}); install it: "
                        "pip install --requirement requirements-export.txt") from None
