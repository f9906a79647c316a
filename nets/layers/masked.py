"""Layers with a mask over their weights, for methods that prune by hand: magnitude, pruning, DNS, fine-tuning."""

from lasagne.init import Constant

from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer

__all__ = ["MaskedLayer", "MaskedDenseLayer", "MaskedConv2DLayer"]


class MaskedLayer:
    """What a layer with a linear map becomes by a mask: f(A; W mask) + b, in training and in prediction.

    The gradient reaches W through the product, so that pruned weights have none.

    Attributes
    ----------
    mask : Theano shared variable
        1 where a weight is kept, 0 where it is pruned; of the shape of W, not trained
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mask = self.add_param(Constant(1.0), self.W.get_value(borrow=True).shape, name="mask", trainable=False,
                                   regularizable=False, training_only=True)

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
