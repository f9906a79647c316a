"""Layers whose weights share a mixture of Gaussians as their prior, and the mixture."""

import math
from collections import namedtuple

import numpy as np
import theano
import theano.tensor as T
from scipy.sparse.csgraph import connected_components

from nets import kernels
from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer

__all__ = ["Components", "Mixture", "MixtureLayer", "MixtureDenseLayer", "MixtureConv2DLayer"]


class Components(namedtuple("Components", "shares means precisions")):
    """The components of a mixture of Gaussians, as float64 arrays; the first one's mean is 0 before a merger."""

    __slots__ = ()

    def divergences(self):
        """KL(i || j) of all pairs, a matrix."""
        log_ratio = np.log(self.precisions[:, None] / self.precisions)
        squares = np.subtract.outer(self.means, self.means) ** 2
        return 0.5 * (log_ratio + self.precisions * (1 / self.precisions[:, None] + squares) - 1)

    def merged(self, divergence):
        """Those of fewer components: one for all that are linked by a KL below `divergence`; that nearest to 0 is at 0.

        A merger has the sum of the shares, and the mean of means and of precisions with the shares as weights, as in
        the authors' code; in the paper it is the mean of variances.
        """
        number, group = connected_components(self.divergences() < divergence, directed=False)
        shares = np.bincount(group, self.shares, number)
        means, precisions = (np.bincount(group, self.shares * values, number) / shares
                             for values in (self.means, self.precisions))
        means[abs(means).argmin()] = 0
        return Components(shares, means, precisions)

    def quantized(self, weights):
        """Each weight as the mean of the component that is most probable for it; an array like `weights`."""
        best = np.full(weights.shape, -np.inf)
        values = np.zeros_like(weights)
        for share, mean, precision in zip(*self):
            score = np.log(share) + 0.5 * np.log(precision) - 0.5 * precision * (weights - mean) ** 2
            values[score > best] = mean
            best = np.maximum(best, score)
        return values


class Mixture:
    """A mixture of Gaussians, of which one component has mean 0 and a fixed share; everything else is trained.

    Parameters
    ----------
    components : int
        their number, at least 2
    zero_share : float
        the share of the component at 0; the others share the rest equally at first
    deviation : float
        where the standard deviations of all components start
    span : pair of float
        the means start evenly over it

    Attributes
    ----------
    means, log_precisions, scores : Theano shared variables
        of components - 1, components, components - 1; the shares are a softmax of the scores
    quantized : Theano shared variable
        1 once all weights are means of components; 0 before

    References
    ----------
    Ullrich, Meeds, Welling (2017), Soft weight-sharing for neural network compression, sections 3 and 4.
    """

    def __init__(self, components, zero_share, deviation, span):
        def shared(value, name):
            return theano.shared(np.asarray(value, theano.config.floatX), name)
        self.zero_share = zero_share
        self.means = shared(np.linspace(*span, components - 1), "means")
        self.log_precisions = shared(np.full(components, -2 * np.log(deviation)), "log_precisions")
        self.scores = shared(np.zeros(components - 1), "scores")
        self.quantized = shared(0, "quantized")

    def components(self):
        """The present values, :class:`Components`."""
        means, log_precisions, scores = (variable.get_value().astype("float64") for variable
                                         in (self.means, self.log_precisions, self.scores))
        shares = np.exp(scores - scores.max())
        return Components(np.append(self.zero_share, (1 - self.zero_share) * shares / shares.sum()),
                          np.append(0, means), np.exp(log_precisions))

    def _log_shares(self):
        scores = self.scores - self.scores.max()
        others = math.log(1 - self.zero_share) + scores - T.log(T.sum(T.exp(scores)))
        return T.concatenate([T.stack([T.cast(math.log(self.zero_share), others.dtype)]), others])

    def _all_means(self):
        return T.concatenate([T.zeros_like(self.means[:1]), self.means])

    def _constants(self):
        return self._log_shares() + self.log_precisions / 2 - math.log(2 * math.pi) / 2

    def log_densities(self, weights):
        """log of share times density of each component, a matrix (components, weights); `weights` is a vector."""
        means, precisions, constants = (vector.dimshuffle(0, "x") for vector in (
            self._all_means(), T.exp(self.log_precisions), self._constants()))
        return constants - precisions / 2 * T.sqr(weights.dimshuffle("x", 0) - means)

    def negative_log(self, weights):
        """-log of the density, summed over a vector of weights; a Theano scalar."""
        return kernels.mixture_negative_log(weights, self._all_means(), T.exp(self.log_precisions), self._constants())

    def kept(self, weights):
        """1 for the weights that are most probably of another component than that at 0, else 0; of their shape."""
        logs = self.log_densities(weights.flatten())
        kept = T.cast(T.gt(T.max(logs[1:], axis=0), logs[0]), weights.dtype).reshape(weights.shape)
        return T.maximum(kept, self.quantized)


class MixtureLayer:
    """What a layer with a linear map becomes by a mixture: weights of the component at 0 are pruned in prediction.

    Parameters
    ----------
    mixture : :class:`Mixture`
        that the network's layers share
    """

    def __init__(self, *args, mixture, **kwargs):
        super().__init__(*args, **kwargs)
        self.mixture = mixture

    def effective_params(self):
        return {self.W: self.W * self.mixture.kept(self.W)}

    def get_output_for(self, input, deterministic=False, effective=None, **kwargs):
        return super().get_output_for(input, effective=effective if deterministic else {self.W: self.W}, **kwargs)


class MixtureDenseLayer(MixtureLayer, DenseLayer):
    """A fully-connected layer with such a prior; other arguments are :class:`nets.layers.dense.DenseLayer`'s."""


class MixtureConv2DLayer(MixtureLayer, Conv2DLayer):
    """A convolution with such a prior; other arguments are those of :class:`nets.layers.conv.Conv2DLayer`."""
