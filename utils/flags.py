"""Values that decide what is trained, each described once: how it is read, checked, stored, compared and shown."""

import argparse
import math
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError

__all__ = ["Flag", "positive", "seed", "size", "weight", "rate", "share", "fraction", "percent", "number",
           "typed", "spelled", "per_layer"]


def positive(text):
    """An int from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def seed(text):
    """An int of 32 bits."""
    value = int(text)
    if not 0 <= value < 2 ** 32:
        raise argparse.ArgumentTypeError(f"{value} is not in 0 ... 4294967295")
    return value


def size(text):
    """A finite float above 0."""
    return _float(text, lambda value: 0 < value < math.inf, "is not positive")


def weight(text):
    """A finite float from 0 on."""
    return _float(text, lambda value: 0 <= value < math.inf, "is negative or infinite")


def rate(text):
    """A float from 0 on and below 1."""
    return _float(text, lambda value: 0 <= value < 1, "is no rate: 0 <= X < 1")


def share(text):
    """A float above 0 and at most 1."""
    return _float(text, lambda value: 0 < value <= 1, "is no share: 0 < X <= 1")


def fraction(text):
    """A float above 0 and below 1."""
    return _float(text, lambda value: 0 < value < 1, "is no fraction: 0 < X < 1")


def percent(text):
    """A float from 0 on and below 100."""
    return _float(text, lambda value: 0 <= value < 100, "is no percentage: 0 <= X < 100")


def number(text):
    """A finite float."""
    return _float(text, math.isfinite, "is not finite")


def _float(text, fits, complaint):
    value = float(text)
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{value:g} {complaint}")
    return value


@dataclass(frozen=True)
class Flag:
    """A value that decides what is trained.

    Attributes
    ----------
    name : str
        `log_sigma2` is `--log-sigma2` on the command line
    default : object
        where neither the script nor the command line says anything else; also what runs have that were made before
        there was this flag
    help : str or None
        None keeps it off the command line: scripts alone set it
    type : callable(str) -> value, or bool
        bool makes `--name` and `--no-name` of it
    choices : tuple of str or None
    metavar : str
    nargs : str or None
        as argparse's
    in_tables : bool
        whether tables name the value where it is not the script's own: what a result depends on and no other column
        shows
    at_start : bool
        whether to give it means something even where it is the script's own value: weights on disk may say otherwise
    """

    name: str
    default: Any = None
    help: str = None
    type: Any = str
    choices: tuple = None
    metavar: str = "X"
    nargs: str = None
    in_tables: bool = True
    at_start: bool = False

    @property
    def option(self):
        """As on the command line."""
        return "--" + self.name.replace("_", "-")

    def add_to(self, parser, default):
        """Offers it on a command line where the script's value is `default`; without the flag, the result is None."""
        shown = spelled(default) if default is not None or self.default is None else "depends on the method"
        keywords = dict(default=None, help=f"{self.help} (default: {shown})")
        if self.type is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        elif self.choices:
            keywords["choices"] = self.choices
        else:
            keywords.update(type=self.type, metavar=self.metavar)
        if self.nargs:
            keywords["nargs"] = self.nargs
        parser.add_argument(self.option, **keywords)

    def checked(self, value):
        """A value that comes from a file, unchanged.

        Raises
        ------
        ValueError
            if it is none that the command line or a script could have given.
        """
        fits = value is None and self.default is None
        if self.nargs or isinstance(self.default, (list, tuple)):
            fits = fits or isinstance(value, (list, tuple)) and value and all(map(self._fits, value))
        if not (fits or self._fits(value) and not self.nargs):
            raise ValueError(f"{self.name} cannot be {str(value)[:100]!r}")
        return value

    def _fits(self, value):
        """Whether one value, or one of several, is of the flag's kind."""
        if self.type is bool or isinstance(self.default, bool):
            return isinstance(value, bool)
        if self.choices:
            return value in self.choices
        if hasattr(self.default, "stretched"):
            return hasattr(value, "stretched")
        if self.help and self.type is str:
            return isinstance(value, str)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            return False
        if self.type in (str, number):  # scripts alone set it; Python may give an infinite threshold
            return True
        try:
            return self.type(str(value)) == value
        except (ValueError, argparse.ArgumentTypeError):
            return False

    def text(self, value):
        """The flag with a value, as one would type it."""
        return typed(self.option, bool(value) if self.type is bool else spelled(value))


def typed(option, value):
    """A flag with a value, as one would type it; with True and False, one that is on or off."""
    if isinstance(value, bool):
        return option if value else "--no-" + option[2:]
    return f"{option} {spelled(value)}"


def spelled(value):
    """A value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(spelled, value))
    return "none" if value is None else format(value, "g") if isinstance(value, float) else str(value)


def per_layer(option, values, number):
    """The value of each of `number` layers, from one for all or one each.

    Raises
    ------
    UserError
        if they are of another number; it names the option.
    """
    if len(values) not in (1, number):
        raise UserError(f"{option} has {len(values)} numbers: give one, or one for each of the {number} layers")
    return list(values) * (number // len(values))
