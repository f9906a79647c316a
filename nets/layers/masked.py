"""Layers with a mask over their weights, for methods that prune by hand: magnitude, pruning, DNS, fine-tuning."""

import numpy as np
import theano
import theano.tensor as T
from lasagne.init import Constant
from lasagne.layers import get_all_layers
from theano.gradient import disconnected_grad

from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer

__all__ = ["MaskedLayer", "MaskedDenseLayer", "MaskedConv2DLayer", "SplicedLayer", "SplicedDenseLayer",
           "SplicedConv2DLayer", "masked_layers"]


def masked_layers(net):
    """The layers of a network that have a mask, from the input on."""
    return [layer for layer in get_all_layers(net) if isinstance(layer, MaskedLayer)]


class MaskedLayer:
    """What a layer with a linear map becomes by a mask: f(A; W mask) + b, in training and in prediction.

    The gradient of the data reaches W through the product, so that pruned weights have none.

    Attributes
    ----------
    mask : Theano shared variable
        1 where a weight is kept, 0 where it is pruned; of the shape of W, not trained
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mask = self._add_of_training("mask", 1.0, self.W.get_value(borrow=True).shape)

    def _add_of_training(self, name, value, shape):
        return self.add_param(Constant(value), shape, name=name, trainable=False, regularizable=False,
                              training_only=True)

    def effective_params(self):
        return {self.W: self.W * self.mask}

    def keep_largest(self, number):
        """Sets the mask so that the `number` weights of largest magnitude are kept; of equal ones, the first."""
        magnitudes = abs(self.W.get_value()).ravel()
        mask = self.mask.get_value()
        mask.ravel()[:] = 0
        mask.ravel()[(-magnitudes).argsort(kind="stable")[:number]] = 1
        self.mask.set_value(mask)


class MaskedDenseLayer(MaskedLayer, DenseLayer):
    """A fully-connected layer with a mask; arguments are those of :class:`nets.layers.dense.DenseLayer`."""


class MaskedConv2DLayer(MaskedLayer, Conv2DLayer):
    """A convolution with a mask; arguments are those of :class:`nets.layers.conv.Conv2DLayer`."""


class SplicedLayer(MaskedLayer):
    """A masked layer whose weights and biases are pruned and spliced back while it trains: f(A; W mask) + b mask_b.

    The gradients by the products are taken for those by W and b, so that pruned weights go on changing.

    Attributes
    ----------
    mask, mask_b : Theano shared variables
        of the shapes of W and b
    threshold : Theano shared variable
        a number

    References
    ----------
    Guo, Yao, Chen (2016), Dynamic network surgery for efficient DNNs; equations 3 and 4.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mask_b = self._add_of_training("mask_b", 1.0, self.b.get_value(borrow=True).shape)
        self.threshold = self._add_of_training("threshold", 0.0, ())
        self._refresh = None
        self._masks = {self.W: self.mask, self.b: self.mask_b}

    def effective_params(self):
        # The value is the product's, the gradient that of the parameter itself.
        return {param: param + disconnected_grad(param * mask - param) for param, mask in self._masks.items()}

    def refresh_masks(self):
        """Prunes what has a magnitude of at most 0.9 threshold, and splices what has one of more than 1.1 threshold."""
        if self._refresh is None:
            self._refresh = theano.function([], updates=[(mask, self._refreshed(param, mask)) for param, mask
                                                         in self._masks.items()])
        self._refresh()

    def _refreshed(self, param, mask):
        lower, upper = (np.array(factor, param.dtype) * self.threshold for factor in (0.9, 1.1))
        # A comparison would do; compilers make vector instructions of this only, four times as fast.
        sign = T.sgn(abs(param) - (lower * mask + upper * (1 - mask)))
        return (sign + abs(sign)) / np.array(2, param.dtype)

    def measured(self):
        """Mean and standard deviation of the magnitudes of all weights and biases that are not 0, two floats."""
        magnitudes = np.concatenate([abs(param.get_value()).ravel() for param in self._masks]).astype("float64")
        magnitudes = magnitudes[magnitudes > 0]
        return float(magnitudes.mean()), float(magnitudes.std())


class SplicedDenseLayer(SplicedLayer, DenseLayer):
    """A fully-connected layer with masks; arguments are those of :class:`nets.layers.dense.DenseLayer`."""


class SplicedConv2DLayer(SplicedLayer, Conv2DLayer):
    """A convolution with masks; arguments are those of :class:`nets.layers.conv.Conv2DLayer`."""
