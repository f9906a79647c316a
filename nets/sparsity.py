"""How sparse a network is, and the weights that it predicts with. Biases do not count as weights."""

import numpy as np
import theano
from lasagne.layers import get_all_layers

from nets.layers.weighted import WeightedLayer
from nets.params import named_params
from nets.structure import cut
from utils.compression import LayerSparsity

__all__ = ["EffectiveParams", "cut_at", "log_alphas", "posteriors", "weight_layers"]


def weight_layers(net):
    """The layers of a network that have weights, from the input on."""
    return [layer for layer in get_all_layers(net) if isinstance(layer, WeightedLayer)]


def posteriors(net):
    """The posteriors of a network's weights under SparseVD, :class:`nets.layers.posterior.WeightPosterior`."""
    return [posterior for layer in weight_layers(net) for posterior in getattr(layer, "posteriors", ())]


def log_alphas(net):
    """log alpha of all posteriors of a network: {title: array of the weights' shape}.

    Titles are those of `EffectiveParams.count_layers`, and "lstm.z_h" or the like of groups' variables.
    """
    titles = [_title(layer, posterior.theta) for layer in weight_layers(net)
              for posterior in getattr(layer, "posteriors", ())]
    return dict(zip(titles, theano.function([], [posterior.log_alpha for posterior in posteriors(net)])()))


def cut_at(net, threshold, log_alpha=None):
    """Sets the means of all weights and groups with log alpha >= threshold to 0.

    `log_alpha` : what :func:`log_alphas` gave, where it is known
    """
    for posterior, values in zip(posteriors(net), (log_alpha or log_alphas(net)).values(), strict=True):
        theta = posterior.theta.get_value()
        posterior.theta.set_value(np.where(values < threshold, theta, 0).astype(theta.dtype))


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
    parts : list of :class:`nets.structure.Count`
        what a recurrent network kept at the last update
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
        self.parts = cut(self._net, self.value, self._set)

    def _set(self, param, value):
        if param in self.variables:
            self.variables[param].set_value(value)

    def value(self, param):
        """A parameter's effective value at the last update, an array that the caller must not change."""
        return self.variables.get(param, param).get_value(borrow=True)

    def count_layers(self):
        """Updates; a :class:`utils.compression.LayerSparsity` for each array of weights.

        It has the layer's name, followed by its own where the layer has several: lstm.W_x.
        """
        self.update()
        return [LayerSparsity(_title(layer, param), self.value(param).size, int(np.count_nonzero(self.value(param))))
                for layer in weight_layers(self._net) for param in layer.weights]

    def named_values(self):
        """Updates; the parameters of the dense net that predicts as this one does: {"layer.W": array, ...}.

        Pruned weights are 0. Parameters that only training needs (log sigma^2) are left out.
        """
        self.update()
        return {name: self.value(param) for name, param in named_params(self._net, training_only=False).items()}


def _title(layer, param):
    alone = len(layer.weights) == 1 and layer.weights[0] is param
    return layer.name if alone else f"{layer.name}.{param.name.split('.')[-1]}"
