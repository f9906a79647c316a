"""The layer behind a recurrent one: a product along the last axis, for each step or for the last one alone."""

import theano.tensor as T
from lasagne.init import Constant, GlorotUniform
from lasagne.nonlinearities import softmax

from nets import kernels
from nets.layers.sparse_vd import SparseVDLayer
from nets.layers.weighted import LinearLayer

__all__ = ["OutputLayer", "SparseVDOutputLayer", "SAMPLES"]

#: Where noise is drawn anew: for each row of the result, for each sequence, or of the weights once a minibatch.
SAMPLES = ("row", "sequence", "weights")


class _LastAxisProduct:
    """(sequences, inputs) or (sequences, steps, inputs) to a matrix with a row for each sequence and step."""

    def __init__(self, input_shape, num_units):
        self.weights_shape = (input_shape[-1], num_units)
        self.num_outputs = num_units

    def output_shape(self, input_shape):
        """Rows are not known before there is an input."""
        return (None, self.num_outputs)

    def __call__(self, input, weights):
        return kernels.dense(_rows(input), weights)

    def pair(self, input, weights, squares_weights):
        """See :meth:`nets.layers.dense.Product.pair`."""
        return kernels.dense_pair(_rows(input), weights, squares_weights)


def _rows(input):
    if input.ndim == 2:
        return input
    return input.reshape((input.shape[0] * input.shape[1], input.shape[2]))


class OutputLayer(LinearLayer):
    """A dense layer along the last axis; the result is a matrix, a row for each sequence and step, in this order.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        of shape (sequences, inputs) or (sequences, steps, inputs)
    num_units : int
    W, b, nonlinearity, **kwargs
        see :class:`nets.layers.weighted.LinearLayer`
    """

    def __init__(self, incoming, num_units, W=GlorotUniform(), b=Constant(0.0), nonlinearity=softmax, **kwargs):
        self.num_units = num_units
        super().__init__(incoming, lambda shape: _LastAxisProduct(shape, num_units), W, b, nonlinearity, **kwargs)


class SparseVDOutputLayer(SparseVDLayer):
    """The same with sparse variational dropout, in its additive parameterization.

    Parameters
    ----------
    incoming, num_units, W, b, nonlinearity, **kwargs
        see :class:`OutputLayer` and :class:`nets.layers.sparse_vd.SparseVDLayer`; nothing is masked in training
    log_sigma2 : initial log sigma^2
    noise_for : str
        one of `SAMPLES`; with "sequence", a sequence's steps share the numbers of its pre-activations
    scale : :class:`nets.layers.posterior.WeightPosterior` or None
        variables of the layer before, (inputs,), which has them in its output in training; in prediction they are part
        of W

    Raises
    ------
    ValueError
        if there is no such `noise_for`.
    """

    def __init__(self, incoming, num_units, W=GlorotUniform(), b=Constant(0.0), log_sigma2=Constant(-6.0),
                 nonlinearity=softmax, noise_for="row", scale=None, **kwargs):
        if noise_for not in SAMPLES:
            raise ValueError(f"noise_for={noise_for!r} is not one of {', '.join(SAMPLES)}")
        self.num_units, self.noise_for, self.scale = num_units, noise_for, scale
        super().__init__(incoming, lambda shape: _LastAxisProduct(shape, num_units), W, b, log_sigma2, nonlinearity,
                         train_clip=False, **kwargs)

    def effective_params(self):
        W = self.posterior.kept
        return {self.W: W * self.scale.kept.dimshuffle(0, "x") if self.scale else W}

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic or self.noise_for != "weights":
            return super().get_output_for(input, deterministic=deterministic, **kwargs)
        W = self.posterior.sample(self.noise.normal(self.W.shape, dtype=self.W.dtype))
        return self.nonlinearity(self.linear(input, W) + self.b)

    def draw_noise(self, input, mean):
        if self.noise_for == "row" or input.ndim == 2:
            return super().draw_noise(input, mean)
        numbers = self.noise.normal((input.shape[0], 1, mean.shape[1]), dtype=mean.dtype)
        return T.repeat(numbers, input.shape[1], axis=1).reshape(mean.shape)
