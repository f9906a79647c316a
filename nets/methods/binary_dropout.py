"""Ordinary layers with binary dropout between them, as the paper trains its VGG-like baseline."""

from nets.layers.dropout import BinaryDropoutLayer
from nets.methods.base import Method
from utils.flags import Flag, rate

__all__ = ["BinaryDropout"]


class BinaryDropout(Method):
    """Ordinary layers, with binary dropout where the network has a place for it."""

    name = "binary-dropout"
    title = "Binary dropout"
    flags = (Flag("dropout_rate", None, "of binary dropout, in place of the network's rates", rate),)

    def dropout(self, incoming, p):
        return BinaryDropoutLayer(incoming, p if self.dropout_rate is None else self.dropout_rate)
