"""The product of matrices that dense and SparseVD layers share, and the dense layer made of it."""

import lasagne
import theano.tensor as T

from nets import kernels
from nets.kernels.dense import dense

__all__ = ["flat", "product", "DenseLayer"]


def flat(input):
    """`input` as a matrix, axes after the first flattened."""
    return input.flatten(2) if input.ndim > 2 else input


def product(input, weights):
    """The product of a matrix `input` and the matrix `weights`, both Theano expressions."""
    return dense(input, weights) if kernels.enabled() else T.dot(input, weights)


class DenseLayer(lasagne.layers.DenseLayer):
    """An ordinary fully-connected layer: Lasagne's, by the same product as the SparseVD layers'.

    Parameters and attributes are those of :class:`lasagne.layers.DenseLayer`.
    """

    def get_output_for(self, input, **kwargs):
        activation = product(flat(input), self.W)
        if self.b is not None:
            activation = activation + self.b.dimshuffle("x", 0)
        return self.nonlinearity(activation)
