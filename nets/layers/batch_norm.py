"""Batch normalization, which Lasagne 0.1 lacks."""

import theano
from lasagne.init import Constant
from lasagne.layers import Layer
from lasagne.nonlinearities import identity

from nets import kernels

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
            along = ["x", 0, *"x" * (input.ndim - 2)]
            scale = self.gamma * self.inv_std
            shift = self.beta - self.mean * scale
            return self.nonlinearity(input * scale.dimshuffle(along) + shift.dimshuffle(along))
        # Clones share their storage; default_update on the averages themselves would also act in prediction.
        averages = [theano.clone(average, share_inputs=False) for average in (self.mean, self.inv_std)]
        # As parts of the expression, they are updated by the functions compiled with it.
        beta = self.beta + 0 * sum(averages)
        result, *statistics = kernels.batch_norm(input, self.gamma, beta, self.epsilon, self.nonlinearity)
        for average, value in zip(averages, statistics):
            average.default_update = (1 - self.alpha) * average + self.alpha * value
        return result
