"""How sparse a network is, and the weights that it predicts with. Biases do not count as weights."""

from collections import namedtuple

import numpy as np
import theano
from lasagne.layers import get_all_layers

from nets.layers.weighted import WeightedLayer
from nets.params import named_params

__all__ = ["EffectiveParams", "LayerSparsity", "total", "weight_layers"]


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
    return [layer for layer in get_all_layers(net) if isinstance(layer, WeightedLayer)]


def total(layers):
    """The :class:`LayerSparsity` of all given ones together."""
    return LayerSparsity("total", sum(layer.weights for layer in layers), sum(layer.nonzero for layer in layers))


class EffectiveParams:
    """The values that a network predicts with, evaluated by one function: whoever reads them reads the same.

    Two functions of one expression may round apart, and so may disagree about a weight at the threshold.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
        the output layer

    Attributes
    ----------
    variables : dict
        {parameter: shared variable of its effective value}, for the argument `effective` of `get_output`
    """

    def __init__(self, net):
        self._net = net
        expressions = {}
        for layer in weight_layers(net):
            expressions.update(layer.effective_params())
        self.variables = {param: theano.shared(param.get_value(), f"effective/{param.name}",
                                               broadcastable=param.broadcastable) for param in expressions}
        self._update = theano.function([], updates=[(self.variables[param], expression)
                                                    for param, expression in expressions.items()])

    def update(self):
        """Evaluates the values of the parameters as they are now."""
        self._update()

    def value(self, param):
        """A parameter's effective value at the last update, an array that the caller must not change."""
        return self.variables.get(param, param).get_value(borrow=True)

    def count_layers(self):
        """Updates; a :class:`LayerSparsity` for each layer with weights."""
        self.update()
        return [LayerSparsity(layer.name, sum(self.value(param).size for param in layer.weights),
                              int(sum(np.count_nonzero(self.value(param)) for param in layer.weights)))
                for layer in weight_layers(self._net)]

    def named_values(self):
        """Updates; the parameters of the dense net that predicts as this one does: {"layer.W": array, ...}.

        Pruned weights are 0. Parameters that only training needs (log sigma^2) are left out.
        """
        self.update()
        return {name: self.value(param) for name, param in named_params(self._net, training_only=False).items()}
