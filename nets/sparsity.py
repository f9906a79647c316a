"""How sparse a network is. Biases do not count, neither as weights nor as non-zero ones."""

from collections import namedtuple

import theano
import theano.tensor as T
from lasagne.layers import get_all_layers

from nets.params import named_params

__all__ = ["LayerSparsity", "counting_function", "total", "masked_weights", "pruned_values",
           "weight_layers"]


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


def weight_layers(net):
    """The layers of a network that have weights, from the input on."""
    return [layer for layer in get_all_layers(net) if hasattr(layer, "W")]


def _mask(layer):
    """A layer that prunes says itself what it keeps; of any other layer, what is not 0 is kept."""
    return layer.get_mask() if hasattr(layer, "get_mask") else T.neq(layer.W, 0)


def counting_function(net):
    """Compiles a function without arguments that returns a :class:`LayerSparsity` for each layer with weights.

    The masks are those of the layers' own predictions, computed on the same device.
    """
    layers = weight_layers(net)
    count = theano.function([], [T.sum(_mask(layer), dtype="int64") for layer in layers])

    def count_layers():
        return [LayerSparsity(layer.name, int(layer.W.get_value(borrow=True).size), int(nonzero))
                for layer, nonzero in zip(layers, count())]
    return count_layers


def total(layers):
    """The :class:`LayerSparsity` of all given ones together."""
    return LayerSparsity("total", sum(layer.weights for layer in layers), sum(layer.nonzero for layer in layers))


def masked_weights(layer):
    """The weights of a layer as its predictions use them, pruned ones as 0; a Theano expression."""
    return layer.W * T.cast(_mask(layer), layer.W.dtype)


def pruned_values(net):
    """The weights and biases of the dense net that predicts as this one does: {"layer.W": array, ...}.

    Pruned weights are 0. Parameters that only training needs (log sigma^2) are left out.
    """
    layers = weight_layers(net)
    masked = theano.function([], [masked_weights(layer) for layer in layers])
    weights = dict(zip((f"{layer.name}.W" for layer in layers), masked()))
    return {name: weights[name] if name in weights else param.get_value()
            for name, param in named_params(net, training_only=False).items()}
