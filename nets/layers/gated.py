"""Layers with hard concrete gates, for L0: random factors in [0, 1] on weights, with mass at 0 and at 1."""

import math

import theano.tensor as T
from lasagne.init import Normal
from scipy.special import expit

from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer
from nets.layers.noise import layer_noise

__all__ = ["GATES", "GatedLayer", "GatedDenseLayer", "GatedConv2DLayer", "expected_gate", "kept_probability",
           "sampled_gate"]

#: What has a gate: a group of weights (an input of a dense layer, a filter of a convolution), or each weight.
GATES = ("groups", "weights")
#: The temperature, and the interval that the concrete variable is stretched to before it is clipped to [0, 1].
BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
LOG_RATIO = BETA * math.log(-GAMMA / ZETA)


def sampled_gate(log_alpha, normal):
    """A random gate for each log alpha: clip(gamma + (zeta - gamma) sigmoid((logit u + log alpha) / beta), 0, 1).

    Parameters
    ----------
    log_alpha : Theano expression
    normal : Theano expression
        standard normal numbers, with one more axis in front, of length 2: half the sum of two squares is exponentially
        distributed, as -log u is

    References
    ----------
    Louizos, Welling, Kingma (2018), Learning sparse neural networks through L0 regularization, section 2.2.
    """
    minus_log_u = T.sum(T.sqr(normal), axis=0) / 2
    logit_u = -T.log(T.expm1(minus_log_u))
    return _stretched(T.nnet.sigmoid((logit_u + log_alpha) / BETA))


def expected_gate(log_alpha):
    """The gate in prediction, clip(gamma + (zeta - gamma) sigmoid(log alpha), 0, 1): 0 where log alpha <= -log 11."""
    return _stretched(T.nnet.sigmoid(log_alpha))


def kept_probability(log_alpha):
    """The probability that a random gate is not 0."""
    return T.nnet.sigmoid(log_alpha - LOG_RATIO)


def _stretched(concrete):
    return T.clip(GAMMA + (ZETA - GAMMA) * concrete, 0, 1)


class GatedLayer:
    """What a layer with a linear map becomes by gates z: f(A; W z) + b, with one sample of z for a minibatch.

    A filter's gate has its bias behind it, too: a filter without weights is then 0 everywhere.

    Parameters
    ----------
    gates : str
        one of `GATES`
    log_alpha : Theano shared variable, expression, numpy array or callable
        where log alpha of the gates starts
    noise : object with a method `normal(size, dtype)`, or None
        where normal numbers come from, see :func:`nets.kernels.normal_stream`; None is a stream of the layer's own

    Attributes
    ----------
    gates : Theano shared variable
        log alpha, of the shape of W or of its first axis
    """

    #: Whether a group's gate has a bias behind it.
    GATES_BIASES = False

    def __init__(self, *args, gates="groups", log_alpha=Normal(0.01), noise=None, **kwargs):
        if gates not in GATES:
            raise ValueError(f"gates={gates!r} is not one of {', '.join(GATES)}")
        self.noise = noise or layer_noise(kwargs.get("name"))
        super().__init__(*args, **kwargs)
        shape = self.linear.weights_shape
        self.gates_shape = shape if gates == "weights" else shape[:1]
        self.gates = self.add_param(log_alpha, self.gates_shape, name="gates", regularizable=False, training_only=True)

    def _gated(self, z):
        by_group = self.gates.ndim < self.W.ndim
        gated = {self.W: self.W * (z.dimshuffle(0, *"x" * (self.W.ndim - 1)) if by_group else z)}
        if by_group and self.GATES_BIASES and self.b is not None:
            gated[self.b] = self.b * z
        return gated

    def effective_params(self):
        return self._gated(expected_gate(self.gates))

    def get_output_for(self, input, deterministic=False, effective=None, **kwargs):
        if not deterministic:
            effective = self._gated(sampled_gate(self.gates, self.noise.normal((2, *self.gates_shape),
                                                                               dtype=self.gates.dtype)))
        return super().get_output_for(input, effective=effective, **kwargs)

    def expected_weights(self):
        """The expected number of weights whose gate is not 0; a Theano scalar."""
        return T.sum(kept_probability(self.gates)) * self._weights_per_gate()

    def count_expected(self):
        """The value of `expected_weights` now."""
        return float(expit(self.gates.get_value() - LOG_RATIO).sum(dtype="float64")) * self._weights_per_gate()

    def expected_squares(self):
        """The sum of squared weights, each times the probability that its gate is not 0; a Theano scalar."""
        squares = T.sqr(self.W).flatten(self.gates.ndim + 1).sum(axis=-1) if self.gates.ndim < self.W.ndim else (
            T.sqr(self.W))
        return T.sum(kept_probability(self.gates) * squares)

    def _weights_per_gate(self):
        return math.prod(self.linear.weights_shape) // math.prod(self.gates_shape)


class GatedDenseLayer(GatedLayer, DenseLayer):
    """A fully-connected layer with gates; other arguments are those of :class:`nets.layers.dense.DenseLayer`."""


class GatedConv2DLayer(GatedLayer, Conv2DLayer):
    """A convolution with gates; other arguments are those of :class:`nets.layers.conv.Conv2DLayer`."""

    GATES_BIASES = True
