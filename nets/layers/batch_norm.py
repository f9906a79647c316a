"""Batch normalization, which Lasagne 0.1 lacks."""

import theano
import theano.tensor as T
from lasagne.init import Constant
from lasagne.layers import Layer
from lasagne.nonlinearities import identity, rectify

from nets import kernels
from nets.kernels.batch_norm import batch_norm

__all__ = ["BatchNormLayer"]


class BatchNormLayer(Layer):
    """Normalizes each channel (or unit) over a batch, then scales and shifts it: gamma (x - mean) inv_std + beta.

    In training, mean and standard deviation are the batch's, and a function compiled with the layer's output moves the
    running averages towards them. In prediction (`deterministic=True`) the running averages take their place.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape; axis 1 holds the channels
    nonlinearity : callable or None
        applied to the result; None is the identity
    epsilon : float
        added to the variance
    alpha : float
        the weight of the latest batch in the running averages
    **kwargs
        see :class:`lasagne.layers.Layer`

    Attributes
    ----------
    beta, gamma : Theano shared variable
        shift and scale, of shape (channels,), trained
    mean, inv_std : Theano shared variable
        running averages of the mean and of 1 / sqrt(variance + epsilon), of shape (channels,), not trained

    References
    ----------
    Ioffe, Szegedy (2015), Batch normalization: accelerating deep network training by reducing internal covariate shift.
    """

    def __init__(self, incoming, nonlinearity=None, epsilon=1e-3, alpha=0.1, **kwargs):
        super().__init__(incoming, **kwargs)
        self.nonlinearity = identity if nonlinearity is None else nonlinearity
        self.epsilon = epsilon
        self.alpha = alpha
        shape = (self.input_shape[1],)
        # The order, and what the running averages are of, are those of the original's weight files.
        self.beta = self.add_param(Constant(0.0), shape, name="beta", regularizable=False)
        self.gamma = self.add_param(Constant(1.0), shape, name="gamma")
        self.mean = self.add_param(Constant(0.0), shape, name="mean", trainable=False, regularizable=False)
        self.inv_std = self.add_param(Constant(1.0), shape, name="inv_std", trainable=False, regularizable=False)

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic:
            return self.nonlinearity(self._normalized(input, self.mean, self.inv_std, self.beta))
        # Clones share their storage; default_update on the averages themselves would also act in prediction.
        averages = [theano.clone(average, share_inputs=False) for average in (self.mean, self.inv_std)]
        # As parts of the expression, they are updated by the functions compiled with it.
        beta = self.beta + 0 * sum(averages)
        rectified = kernels.enabled() and self.nonlinearity is rectify
        if kernels.enabled():
            result, *statistics = batch_norm(input, self.gamma, beta, self.epsilon, rectified)
        else:
            axes = [0, *range(2, input.ndim)]
            statistics = input.mean(axes), T.inv(T.sqrt(input.var(axes) + self.epsilon))
            result = self._normalized(input, *statistics, beta)
        for average, value in zip(averages, statistics):
            average.default_update = (1 - self.alpha) * average + self.alpha * value
        return result if rectified else self.nonlinearity(result)

    def _normalized(self, input, mean, inv_std, beta):
        pattern = ["x", 0, *"x" * (input.ndim - 2)]
        scale = self.gamma * inv_std
        shift = beta - mean * scale
        return input * scale.dimshuffle(pattern) + shift.dimshuffle(pattern)
