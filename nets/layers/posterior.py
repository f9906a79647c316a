"""The posterior of an array of weights under sparse variational dropout: what a layer has for each of its arrays.

A dense layer owns one, a recurrent layer several: of its matrices, and of the variables that groups of weights share.
"""

from functools import cached_property

import numpy as np
import theano.tensor as T
from lasagne.init import Constant

from nets import kernels, kl

__all__ = ["WeightPosterior", "add_group", "add_posterior", "PARAMETERIZATIONS"]

PARAMETERIZATIONS = ("additive", "multiplicative")


class WeightPosterior:
    """q(w) = N(theta, sigma^2), elementwise, under a log-uniform prior.

    Parameters
    ----------
    theta : Theano shared variable
        the means
    noise : Theano shared variable
        of theta's shape: log sigma^2, or log alpha in the multiplicative parameterization
    threshold : float
        a weight is pruned where log alpha >= threshold
    pruned_noise, pruned_kl : bool
        whether pruned weights have a variance and a share of the KL term in training
    kl : :class:`nets.kl.SigmoidApproximation`
    parameterization : str
        one of `PARAMETERIZATIONS`

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 4.
    """

    #: log alpha is clipped to [-CLIP, CLIP]; outside, its gradient is 0.
    CLIP = 8.0
    #: Added to theta^2, so that the logarithm has a finite gradient.
    EPSILON = 1e-8

    def __init__(self, theta, noise, threshold=3.0, pruned_noise=True, pruned_kl=True, kl=kl.molchanov_2017,
                 parameterization="additive"):
        self.theta, self.noise, self.parameterization = theta, noise, parameterization
        self.constants = kernels.PosteriorConstants(threshold, self.CLIP, self.EPSILON, pruned_noise, pruned_kl, kl)

    @property
    def log_alpha(self):
        """A Theano expression of theta's shape, within [-8, 8] and finite for theta = 0 too."""
        if self.parameterization == "multiplicative":
            return T.clip(self.noise, -self.CLIP, self.CLIP)
        return T.clip(self.noise - T.log(T.sqr(self.theta) + self.EPSILON), -self.CLIP, self.CLIP)

    @property
    def mask(self):
        """1 where a weight is kept (log alpha < threshold), 0 where it is pruned; float, of theta's shape."""
        return 1 - T.cast(T.ge(self.log_alpha, self.constants.threshold), self.theta.dtype)

    @property
    def kept(self):
        """What predictions use: theta, 0 where it is pruned."""
        return self.theta * self.mask

    @cached_property
    def moments(self):
        """What training needs, a :class:`nets.kernels.posterior.Posterior`; made once, for one gradient in common."""
        if self.parameterization == "multiplicative":
            return kernels.posterior_of_log_alpha(self.theta, self.log_alpha, self.constants)
        return kernels.posterior(self.theta, self.noise, self.constants)

    @property
    def kl(self):
        """The sum of KL(q || p) over the weights in nats; a Theano scalar."""
        return self.moments.kl

    def sample(self, numbers):
        """theta + sigma times standard normal numbers, of theta's shape or broadcast with it; nothing is masked.

        Parameters
        ----------
        numbers : Theano expression

        Raises
        ------
        ValueError
            in the multiplicative parameterization, which samples pre-activations alone.
        """
        if self.parameterization == "multiplicative":
            raise ValueError("weights are sampled in the additive parameterization alone")
        return self.theta + T.exp(0.5 * self.noise) * numbers

    def set_log_sigma2(self, value):
        """Sets log sigma^2, by means of log alpha in the multiplicative parameterization.

        Parameters
        ----------
        value : float or numpy array
            for all weights, or of their shape
        """
        theta = self.theta.get_value()
        value = np.broadcast_to(value, theta.shape).astype(theta.dtype)
        self.noise.set_value(value if self.parameterization == "additive" else self._log_alpha_of(value))

    def get_log_sigma2(self):
        """log sigma^2, a numpy array of theta's shape."""
        value = self.noise.get_value()
        return value if self.parameterization == "additive" else self._log_sigma2_of(value)

    def set_log_alpha(self, value):
        """Sets log alpha, an array of theta's shape; in the additive parameterization, log sigma^2."""
        additive = self.parameterization == "additive"
        self.noise.set_value(self._log_sigma2_of(value) if additive else value.astype(self.theta.dtype))

    def num_without_gradient(self):
        """How many weights have so little noise for their size that nothing makes it grow: log alpha < -8."""
        log_alpha = self.noise.get_value() - (self._log_theta2() if self.parameterization == "additive" else 0)
        return np.count_nonzero(log_alpha < -self.CLIP)

    def _log_alpha_of(self, log_sigma2):
        # Beyond the clip it would have no gradient, and nothing else moves it.
        return np.clip(log_sigma2 - self._log_theta2(), -self.CLIP, self.CLIP).astype(self.theta.dtype)

    def _log_sigma2_of(self, log_alpha):
        return (log_alpha + self._log_theta2()).astype(self.theta.dtype)

    def _log_theta2(self):
        return np.log(self.theta.get_value() ** 2 + self.EPSILON)


def add_posterior(layer, theta, log_sigma2, **kwargs):
    """The :class:`WeightPosterior` of a layer's parameter theta, with a parameter `<theta>_log_sigma2` for its noise.

    Parameters
    ----------
    layer : :class:`lasagne.layers.Layer`
    theta : Theano shared variable
    log_sigma2 : Theano shared variable, expression, numpy array or callable
        initial log sigma^2
    **kwargs
        see :class:`WeightPosterior`
    """
    name = theta.name.split(".")[-1]
    noise = layer.add_param(log_sigma2, theta.get_value(borrow=True).shape, name=f"{name}_log_sigma2",
                            regularizable=False, training_only=True)
    return WeightPosterior(theta, noise, **kwargs)


def add_group(layer, name, length, log_sigma2, **kwargs):
    """The :class:`WeightPosterior` of a variable for each of `length` groups of weights, whose means start at 1.

    It is the layer's parameter `name`, which predictions do without; other parameters as in :func:`add_posterior`.
    """
    mean = layer.add_param(Constant(1.0), (length,), name=name, regularizable=False, training_only=True)
    return add_posterior(layer, mean, log_sigma2, **kwargs)
