"""The product of matrices that dense and SparseVD layers share, and the dense layer made of it."""

import math

from lasagne.init import Constant, GlorotUniform
from lasagne.nonlinearities import rectify

from nets import kernels
from nets.layers.weighted import LinearLayer

__all__ = ["Product", "DenseLayer"]


class Product:
    """The product of a batch with a matrix of weights, axes after the first flattened.

    Parameters
    ----------
    input_shape : tuple
        all but the first length must be known
    num_units : int

    Attributes
    ----------
    weights_shape : tuple of int
        (inputs, units)
    num_outputs : int
        the number of units
    """

    def __init__(self, input_shape, num_units):
        self.weights_shape = (math.prod(input_shape[1:]), num_units)
        self.num_outputs = num_units

    def output_shape(self, input_shape):
        """The shape of the result, (images, units)."""
        return (input_shape[0], self.num_outputs)

    def __call__(self, input, weights):
        """The product of `input` and `weights`, both Theano expressions."""
        return kernels.dense(_flat(input), weights)

    def pair(self, input, weights, squares_weights):
        """The products of `input` and `weights` and of its squares and `squares_weights`."""
        return kernels.dense_pair(_flat(input), weights, squares_weights)


def _flat(input):
    return input.flatten(2) if input.ndim > 2 else input


class DenseLayer(LinearLayer):
    """An ordinary fully-connected layer, as Lasagne's.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape; axes after the first are flattened
    num_units : int
    W, b, nonlinearity, **kwargs
        see :class:`nets.layers.weighted.LinearLayer`
    """

    def __init__(self, incoming, num_units, W=GlorotUniform(), b=Constant(0.0), nonlinearity=rectify, **kwargs):
        self.num_units = num_units
        super().__init__(incoming, lambda shape: Product(shape, num_units), W, b, nonlinearity, **kwargs)
