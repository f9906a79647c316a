"""The methods, one file each; what one of them is, says :class:`nets.methods.base.Method`."""

from nets.methods.binary_dropout import BinaryDropout
from nets.methods.dense import Dense
from nets.methods.dns import DNS
from nets.methods.finetune import Finetune
from nets.methods.l0 import L0
from nets.methods.magnitude import Magnitude
from nets.methods.pruning import Pruning
from nets.methods.sbp import SBP
from nets.methods.sparse_vd import SparseVD
from nets.methods.sws import SoftWeightSharing
from nets.schedules import restored, stored

__all__ = ["METHODS", "make", "described"]

#: {name: class}, the one list of methods.
METHODS = {method.name: method for method in (SparseVD, Dense, BinaryDropout, Magnitude, Pruning, DNS, Finetune, L0,
                                              SoftWeightSharing, SBP)}


def make(name, **values):
    """The method of a name with the given values; those that are not given are the flags' defaults.

    Raises
    ------
    ValueError
        if there is no such method, or a value is none of its own.
    """
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}, only {', '.join(METHODS)}")
    return METHODS[name](**{key: restored(value) for key, value in values.items()})


def described(method):
    """A method as a run's configuration has it: a dict with its name and all of its values, for :func:`make`."""
    return {"name": method.name, **{flag.name: stored(getattr(method, flag.name)) for flag in method.flags}}
