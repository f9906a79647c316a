"""Theano Ops of our own, in C with OpenMP, for a CPU. Each has a plain Theano graph in its place where it cannot run.

What decides is :func:`enabled`, when a network is built: the Ops are for a CPU, and `use_plain_graph` turns them off.
"""

import theano

__all__ = ["enabled", "use_plain_graph"]

_plain = False


def enabled():
    """Whether networks that are built now use the Ops."""
    return not _plain and theano.config.device == "cpu" and bool(theano.config.cxx)


def use_plain_graph(plain=True):
    """Turns the Ops off (or on again) for the networks that are built from now on."""
    global _plain
    _plain = plain
