"""Ordinary layers: the network to compare with."""

from nets.methods.base import Method

__all__ = ["Dense"]


class Dense(Method):
    """The network of ordinary layers, without noise."""
