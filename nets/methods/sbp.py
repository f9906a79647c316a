"""Structured Bayesian Pruning: noise on units and filters, which are removed where it drowns them."""

import numpy as np
import theano
import theano.tensor as T
from lasagne.init import Constant
from lasagne.layers import InputLayer, get_all_layers, get_all_params

from nets import kernels
from nets.layers.log_normal import HIGH, LOW, LogNormalConv2DLayer, LogNormalDenseLayer, LogNormalLayer
from nets.methods.base import Group, Method, Term
from nets.methods.dense import Dense
from nets.schedules import Constant as ConstantSchedule
from nets.sparsity import weight_layers
from utils.flags import Flag, number, size

__all__ = ["SBP"]

#: Where noise is drawn anew: for each image, or for each batch.
SAMPLES = ("image", "batch")


def _noises(net):
    """From the input on; of a dense layer after images, the channels' first."""
    return [noise for layer in get_all_layers(net) if isinstance(layer, LogNormalLayer) for noise in layer.noises]


class SBP(Method):
    """Layers of :mod:`nets.layers.log_normal`, and KL(q || p) of their noise in the objective.

    The noise is on the inputs of a layer, after whatever comes before it (bias, ReLU, normalization, pooling), so that
    a pruned unit is exactly 0 to all that follow. It is on the pixels of a dense first layer, not on images' channels.

    References
    ----------
    Neklyudov, Molchanov, Ashukha, Vetrov (2017), Structured Bayesian pruning via log-normal multiplicative noise.
    """

    name = "sbp"
    title = "SBP"
    prunes = True
    dense_class = LogNormalDenseLayer
    conv_class = LogNormalConv2DLayer
    flags = (
        Flag("threshold", 1.0, "a unit is pruned where its signal-to-noise ratio is at most X", number),
        Flag("log_sigma", -5.0, "where log sigma of every unit's noise starts", number, at_start=True),
        Flag("kl_weight", [1.0], "a factor on the KL term, one number for all units or one for each layer's, as they "
                                 "are counted: for LeNet-5 of 20, 50, 800 and 500", size, nargs="+"),
        Flag("noise_for", "image", "whether each image has noise of its own, or a batch's images share it as in the "
                                   "authors' code", choices=SAMPLES),
        Flag("noise_rate", 1.0, "a factor on the learning rate for mu and log sigma", size),
        # Adam's decay of the averaged gradient.
        Flag("beta1", 0.95),
        # Of log sigma, after each step.
        Flag("clip", [-20.0, 5.0]),
    )
    by_part = {"kl_weight": _noises}

    def layer_values(self, incoming):
        return dict(super().layer_values(incoming), mu=Constant(HIGH), log_sigma=Constant(self.log_sigma),
                    threshold=self.threshold, shared=self.noise_for == "batch",
                    channels=not isinstance(incoming, InputLayer))

    def conv_layer(self, incoming, num_filters, filter_size, nonlinearity, name, pad=0):
        if isinstance(incoming, InputLayer):
            return Dense().conv_layer(incoming, num_filters, filter_size, nonlinearity, name, pad)
        return super().conv_layer(incoming, num_filters, filter_size, nonlinearity, name, pad)

    def start(self, net, missing, given):
        if not missing and "log_sigma" not in given:
            return ", noise from there too"
        for noise in _noises(net):
            noise.mu.set_value(np.full_like(noise.mu.get_value(), HIGH))
            noise.log_sigma.set_value(np.full_like(noise.log_sigma.get_value(), self.log_sigma))
        return f", log sigma = {self.log_sigma:g}"

    def terms(self, net):
        divergence = sum(weight * noise.kl() for noise, weight in self.of_parts(net, "kl_weight"))
        return [Term("kl", "KL", T.as_tensor_variable(divergence), ConstantSchedule(1.0))]

    def groups(self, net):
        noise = [param for own in _noises(net) for param in own]
        return [Group([param for param in get_all_params(net, trainable=True) if param not in noise]),
                Group(noise, self.noise_rate)]

    def optimizer(self, gradients, params, learning_rate, number, num_examples):
        # Those of the noise are float64.
        gradients = [T.cast(gradient, param.dtype) for gradient, param in zip(gradients, params)]
        return kernels.adam(gradients, params, learning_rate, beta1=self.beta1,
                            name=f"adam/{number}" if number else "adam")

    def step_updates(self, net, updates):
        """mu stays where the formulas are accurate, up to 5 sigma above the bound: a clip would cut its gradient."""
        found = {}
        for noise in _noises(net):
            found[noise.log_sigma] = T.clip(updates[noise.log_sigma], *map(np.float32, self.clip))
            highest = HIGH + 5 * T.exp(found[noise.log_sigma])
            found[noise.mu] = T.clip(updates[noise.mu], LOW, highest)
        return {param: T.cast(value, param.dtype) for param, value in found.items()}

    def finish(self, net):
        """Sets what leads to pruned units alone to 0, so that it counts as pruned; predictions stay the same.

        In networks that are no chain it may lead elsewhere, too: they are left as they are.
        """
        chain, layers = get_all_layers(net), weight_layers(net)
        if any(getattr(layer, "input_layer", None) is not before for before, layer in zip(chain, chain[1:])):
            return
        factors = theano.function([], [layer.input_factors() for layer in layers[1:]], mode="FAST_COMPILE")()
        for before, kept in zip(layers, factors):
            needed = kept.reshape(before.linear.num_outputs, -1).any(axis=1)
            along = (slice(None), ~needed) if before.W.ndim == 2 else ~needed
            for param, index in ((before.W, along), (before.b, ~needed)):
                value = param.get_value()
                value[index] = 0
                param.set_value(value)
