"""Soft weight-sharing: a mixture of Gaussians, learned with the weights, that draws them to a few values."""

import math

import numpy as np
import theano.tensor as T
from lasagne.layers import get_all_layers, get_all_params

from nets.layers.mixture import Mixture, MixtureConv2DLayer, MixtureDenseLayer, MixtureLayer
from nets.methods.base import Column, Group, Method, Term
from nets.schedules import Constant as ConstantSchedule
from utils.flags import Flag, fraction, size

__all__ = ["SoftWeightSharing", "coded_bits"]

LARGEST_LOG_PRECISION = math.log(1e6)


class SoftWeightSharing(Method):
    """Layers of :mod:`nets.layers.mixture`, and -log of the mixture's density in the objective.

    Until training ends, weights keep their values, but for those of the component at 0, which predictions leave out. At
    the end (`finish`), components that have become the same are merged, and each weight becomes the mean of its
    component: weights.npz has these. Biases are no part of the mixture.

    References
    ----------
    Ullrich, Meeds, Welling (2017), Soft weight-sharing for neural network compression.
    """

    name = "sws"
    title = "SWS"
    prunes = True
    dense_class = MixtureDenseLayer
    conv_class = MixtureConv2DLayer
    needs_start = True
    flags = (
        Flag("tau", 0.005, "the weight of -log of the mixture's density", size),
        Flag("zero_share", 0.999, "the fixed share of the component at 0", fraction),
        Flag("deviation", 0.25),       # where the components' standard deviations start
        Flag("hyper_priors", True, "whether the precisions of the components have Gamma priors, which keep them from "
                                   "collapsing", bool),
        Flag("components", 17),
        # Shape and rate of the precisions' priors; the component at 0 has most of the weights behind it.
        Flag("zero_prior", [5000.0, 2.0]),
        Flag("prior", [250.0, 0.1]),
        # Of means, precisions and shares, times the learning rate: the mixture should not chase the weights.
        Flag("rates", [0.2, 6.0, 6.0]),
        # KL below which components are merged.
        Flag("merged_below", 1e-10),
        # Where the means are until `start` sets them.
        Flag("span", [-0.6, 0.6]),
    )
    columns = (Column("values", "values", "6.0f"), Column("coded_compression", "coded", "6.1f"))

    def _mixture(self, incoming):
        for layer in _layers(incoming):
            return layer.mixture
        return Mixture(self.components, self.zero_share, self.deviation, self.span)

    def layer_values(self, incoming):
        return {**super().layer_values(incoming), "mixture": self._mixture(incoming)}

    def start(self, net, missing, given):
        """The means start evenly over the range of the weights."""
        weights = [layer.W.get_value() for layer in _layers(net)]
        low, high = min(map(np.min, weights)), max(map(np.max, weights))
        means = self._mixture(net).means
        means.set_value(np.linspace(low, high, self.components - 1).astype(means.dtype))
        return f", the mixture's means from {low:.2f} to {high:.2f}"

    def terms(self, net):
        mixture = self._mixture(net)
        value = mixture.negative_log(T.concatenate([layer.W.flatten() for layer in _layers(net)]))
        if self.hyper_priors:
            logs = mixture.log_precisions
            for prior, part in ((self.zero_prior, logs[:1]), (self.prior, logs[1:])):
                shape, inverse_scale = prior
                value += T.sum(inverse_scale * T.exp(part) - (shape - 1) * part)
        return [Term("prior", "-log p(w)", value, ConstantSchedule(self.tau))]

    def groups(self, net):
        mixture = self._mixture(net)
        own = ([mixture.means], [mixture.log_precisions], [mixture.scores])
        return [Group(get_all_params(net, trainable=True)), *map(Group, own, self.rates)]

    def step_updates(self, net, updates):
        logs = self._mixture(net).log_precisions
        return {logs: T.minimum(updates[logs], T.cast(LARGEST_LOG_PRECISION, logs.dtype))}

    def state(self, net):
        mixture = self._mixture(net)
        return {variable.name: variable for variable in (mixture.means, mixture.log_precisions, mixture.scores,
                                                         mixture.quantized)}

    def row(self, net):
        """What quantization now would give: the number of values but 0, and the compression with values as numbers."""
        weights = self._quantized(net)
        values = np.unique(np.concatenate([array.ravel() for array in weights]))
        number = np.count_nonzero(values)
        # Han's numbers of bits for the distance to the next weight.
        bits = 32 * number + sum(coded_bits(array, 1 + number, 8 if array.ndim == 4 else 5) for array in weights)
        return {"values": int(number),
                "coded_compression": 32 * sum(array.size for array in weights) / max(bits, 1)}

    def finish(self, net):
        for layer, values in zip(_layers(net), self._quantized(net)):
            layer.W.set_value(values)
        self._mixture(net).quantized.set_value(1)

    def _quantized(self, net):
        mixture, weights = self._mixture(net), [layer.W.get_value() for layer in _layers(net)]
        if mixture.quantized.get_value():
            return weights
        components = mixture.components().merged(self.merged_below)
        return [components.quantized(array) for array in weights]


def coded_bits(weights, values, index_bits):
    """The size of a layer of a few different weights, coded as distances between non-zero ones and numbers of values.

    A distance that does not fit takes zeros in between.

    Parameters
    ----------
    weights : numpy array
    values : int
        the number of different values in the codebook, which is not counted here, with 0
    index_bits : int
        of a distance

    Returns
    -------
    int
        in bits

    References
    ----------
    Han, Mao, Dally (2016), Deep compression, sections 2 and 3.
    """
    distances = np.diff(np.flatnonzero(weights), prepend=-1)
    entries = int(np.sum(-(-distances // 2 ** index_bits)))
    return entries * (index_bits + math.ceil(math.log2(values)))


def _layers(net):
    return [layer for layer in get_all_layers(net) if isinstance(layer, MixtureLayer)]
