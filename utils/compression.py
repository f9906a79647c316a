"""How sparse layers are. Biases do not count, neither as weights nor as non-zero ones."""

from collections import namedtuple

__all__ = ["LayerSparsity", "total"]


class LayerSparsity(namedtuple("LayerSparsity", "name weights nonzero")):
    """A layer's name, number of weights, and number of weights that are not zero after pruning."""

    __slots__ = ()

    @property
    def sparsity_percent(self):
        """The share of weights that are zero, in percent."""
        return 100.0 * (self.weights - self.nonzero) / self.weights

    @property
    def compression(self):
        """Weights over non-zero weights, |W| / |W != 0| (paper, table 1); infinite if none is left."""
        return self.weights / self.nonzero if self.nonzero else float("inf")


def total(layers):
    """The :class:`LayerSparsity` of all given ones together."""
    return LayerSparsity("total", sum(layer.weights for layer in layers), sum(layer.nonzero for layer in layers))
