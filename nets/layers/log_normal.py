"""Layers whose inputs have multiplicative noise with a trained distribution, for Structured Bayesian Pruning.

A unit is multiplied by theta = exp(x), where x is normal, N(mu, sigma^2), truncated to [LOW, HIGH]; the prior of x is
uniform there. The formulas are arranged so that neither tail overflows: `_log_moment` holds what they have in common.
"""

import math
from collections import namedtuple

import numpy as np
import theano
import theano.tensor as T
from lasagne.init import Constant

from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer
from nets.layers.noise import layer_noise

__all__ = ["LOW", "HIGH", "kl", "mean", "snr", "sampled", "UnitNoise", "LogNormalLayer", "LogNormalDenseLayer",
           "LogNormalConv2DLayer"]

#: Bounds of log theta.
LOW, HIGH = -20.0, 0.0
#: A unit whose factor is smaller than this on average is pruned whatever its ratio is: near LOW, that is not small.
NEGLIGIBLE = 1e-4

# Theano takes Python's floats for float32.
_ROOT_2, _LOG_ROOT_2_PI, _SMALLEST, _LARGEST = (np.float64(value) for value in (
    math.sqrt(2), math.log(2 * math.pi) / 2, 1e-30, 1 - 1e-15))


def _log_moment(k, mu, sigma):
    """log(Z E theta^k), Z the normal distribution's probability of [LOW, HIGH]; needs mu >= LOW."""
    a, b = (LOW - mu) / sigma, (HIGH - mu) / sigma
    x = k * sigma - b
    # Each form of log Phi where it is accurate; T.switch differentiates both, so that both need arguments of theirs.
    right, left = T.maximum(x, 0), T.minimum(x, 0)
    upper = T.switch(T.ge(x, 0), k * HIGH - T.sqr(b) / 2 + T.log(T.erfcx(right / _ROOT_2) / 2),
                     k * mu + T.sqr(k * sigma) / 2 + T.log1p(-T.erfc(-left / _ROOT_2) / 2))
    lower = k * LOW - T.sqr(a) / 2 + T.log(T.erfcx((k * sigma - a) / _ROOT_2) / 2)
    return upper + T.log(-T.expm1(lower - upper))


def _float64(mu, log_sigma):
    """mu and sigma; the numbers are few, and float64 spares the far tail's digits."""
    return T.cast(mu, "float64"), T.exp(T.cast(log_sigma, "float64"))


def kl(mu, log_sigma):
    """KL(q || p) of each unit, in closed form; 0 where sigma is infinite. A float64 expression of mu's shape.

    References
    ----------
    Neklyudov, Molchanov, Ashukha, Vetrov (2017), Structured Bayesian pruning via log-normal multiplicative noise.
    """
    mu, sigma = _float64(mu, log_sigma)
    log_z = _log_moment(0, mu, sigma)
    a, b = (LOW - mu) / sigma, (HIGH - mu) / sigma
    # Bounds times densities there, over Z.
    at_a, at_b = (t * T.exp(-T.sqr(t) / 2 - _LOG_ROOT_2_PI - log_z) for t in (a, b))
    return np.log(HIGH - LOW) - T.log(sigma) - _LOG_ROOT_2_PI - 0.5 - log_z - (at_a - at_b) / 2


def mean(mu, log_sigma):
    """E theta, float64."""
    mu, sigma = _float64(mu, log_sigma)
    return T.exp(_log_moment(1, mu, sigma) - _log_moment(0, mu, sigma))


def snr(mu, log_sigma):
    """The signal-to-noise ratio E theta / sqrt(Var theta), at most 3162; float64."""
    mu, sigma = _float64(mu, log_sigma)
    log_ratio = _log_moment(2, mu, sigma) + _log_moment(0, mu, sigma) - 2 * _log_moment(1, mu, sigma)
    return 1 / T.sqrt(T.expm1(T.maximum(log_ratio, 1e-7)))


def sampled(mu, log_sigma, normal):
    """Random theta, with gradients to mu and log sigma: exp(mu + sigma Phi^-1(Phi(A) + u Z)), float64.

    Parameters
    ----------
    mu, log_sigma : Theano expressions
    normal : Theano expression
        standard normal numbers, with one more axis in front, of length 2: half the sum of two squares is exponentially
        distributed, as -log u is
    """
    mu, sigma = _float64(mu, log_sigma)
    u = T.exp(-T.sum(T.sqr(T.cast(normal, "float64")), axis=0) / 2)
    below = T.erfc((mu - LOW) / (sigma * _ROOT_2)) / 2
    share = below + u * T.exp(_log_moment(0, mu, sigma))
    # Not by erfinv, which has no digits left in the left tail.
    x = mu - sigma * _ROOT_2 * T.erfcinv(2 * T.clip(share, _SMALLEST, _LARGEST))
    return T.exp(T.clip(x, LOW, HIGH))


class UnitNoise(namedtuple("UnitNoise", "mu log_sigma")):
    """The noise of a layer's inputs, or of its input channels: mu and log sigma, shared variables of shape (units,)."""

    __slots__ = ()

    def kl(self):
        """The sum of the units' KL; a Theano scalar."""
        return T.sum(kl(*self))

    def factors(self, threshold):
        """What predictions multiply units by: E theta, 0 for those whose ratio is not above the threshold."""
        expected = mean(*self)
        kept = T.gt(snr(*self), threshold) * T.gt(expected, NEGLIGIBLE)
        return T.cast(T.switch(kept, expected, 0), self.mu.dtype)


class LogNormalLayer:
    """What a layer with a linear map becomes by noise on its inputs: f(A theta; W) + b.

    A convolution's channel has one theta an image. The inputs of a dense layer have one each; where they are images
    with channels, as many of them as share a channel have one more in common, so that a filter can be pruned at once.
    Predictions multiply W by what is expected of theta: an input that is pruned has weights of 0.

    Parameters
    ----------
    mu, log_sigma : Theano shared variable, expression, numpy array or callable
        where the noise's parameters start
    threshold : float
        an input is pruned where its signal-to-noise ratio is at most this
    shared : bool
        whether all images of a batch have the same noise, as in the authors' code
    channels : bool
        of a dense layer, whether channels have noise of their own
    noise : object with a method `normal(size, dtype)`, or None
        where normal numbers come from, see :func:`nets.kernels.normal_stream`; None is a stream of the layer's own

    Attributes
    ----------
    unit_noise, channel_noise : :class:`UnitNoise` or None
    """

    def __init__(self, *args, mu=Constant(0.0), log_sigma=Constant(-5.0), threshold=1.0, shared=False, channels=True,
                 noise=None, **kwargs):
        self.noise = noise or layer_noise(kwargs.get("name"))
        super().__init__(*args, **kwargs)
        self.threshold, self.shared = threshold, shared
        self.unit_noise = self.channel_noise = None

        def parameters(units, prefix):
            return UnitNoise(*(self.add_param(start, (units,), name=prefix + name, regularizable=False,
                                              training_only=True)
                               for name, start in (("mu", mu), ("log_sigma", log_sigma))))
        if self.W.ndim == 2:
            self.unit_noise = parameters(self.linear.weights_shape[0], "")
            # A channel of one number is an input already.
            channels = channels and math.prod(self.input_shape[2:]) > 1
        if self.W.ndim == 4 or channels:
            self.channel_noise = parameters(self.input_shape[1], "channel_")

    @property
    def noises(self):
        """The layer's one or two :class:`UnitNoise`."""
        return [noise for noise in (self.channel_noise, self.unit_noise) if noise]

    def input_factors(self):
        """What predictions multiply each input (of a convolution, each channel) by, 0 where it is pruned."""
        if self.unit_noise is None:
            return self.channel_noise.factors(self.threshold)
        factors = self.unit_noise.factors(self.threshold)
        if self.channel_noise is None:
            return factors
        return factors * T.repeat(self.channel_noise.factors(self.threshold), math.prod(self.input_shape[2:]))

    def effective_params(self):
        along = (0, "x") if self.W.ndim == 2 else ("x", 0, "x", "x")
        return {self.W: self.W * self.input_factors().dimshuffle(*along)}

    def get_output_for(self, input, deterministic=False, effective=None, **kwargs):
        if not deterministic:
            effective = {self.W: self.W}
            if self.channel_noise:
                input = input * self._theta(self.channel_noise, input).dimshuffle(0, 1, *"x" * (input.ndim - 2))
            if self.unit_noise:
                input = input.flatten(2) * self._theta(self.unit_noise, input)
        return super().get_output_for(input, effective=effective, **kwargs)

    def _theta(self, noise, input):
        """Of shape (images, units), or (1, units)."""
        size = (2, 1 if self.shared else input.shape[0], noise.mu.get_value(borrow=True).size)
        theta = T.cast(sampled(*noise, self.noise.normal(size, dtype=theano.config.floatX)), theano.config.floatX)
        return T.addbroadcast(theta, 0) if self.shared else theta


class LogNormalDenseLayer(LogNormalLayer, DenseLayer):
    """A fully-connected layer with noise; other arguments are those of :class:`nets.layers.dense.DenseLayer`."""


class LogNormalConv2DLayer(LogNormalLayer, Conv2DLayer):
    """A convolution with noise; other arguments are those of :class:`nets.layers.conv.Conv2DLayer`."""
