"""Layers with sparse variational dropout (SparseVD).

A weight has the posterior N(theta, sigma^2); theta (`W`) and log sigma^2 (`log_sigma2`) are trained. Where
log alpha = log sigma^2 - log theta^2 reaches the threshold, the weight is noise and is pruned.

That is the parameterization of the paper, by additive noise. The one that it replaced, by multiplicative noise, trains
theta and log alpha (`log_alpha`) and is there to compare with.
"""

import math

import lasagne
import numpy as np
import theano.tensor as T
from lasagne.init import Constant, GlorotUniform, Normal
from lasagne.nonlinearities import identity, rectify
from lasagne.utils import create_param
from theano.sandbox.rng_mrg import MRG_RandomStreams

from nets import kernels, kl
from nets.layers.conv import Convolution
from nets.layers.dense import flat, product
from nets.kernels.conv import conv_pair
from nets.kernels.dense import dense_pair
from nets.kernels.normal import NormalStream
from nets.kernels.posterior import Constants, kept, posterior
from nets.kernels.reparameterization import sample

__all__ = ["SparseVDLayer", "SparseVDDenseLayer", "SparseVDConv2DLayer", "PARAMETERIZATIONS"]

PARAMETERIZATIONS = ("additive", "multiplicative")

#: log alpha is clipped to [-CLIP, CLIP]; outside, its gradient is 0.
CLIP = 8.0
#: Added to theta^2 and to the variance of a pre-activation, so that logarithm and square root have finite gradients.
EPSILON = 1e-8


class SparseVDLayer(lasagne.layers.Layer):
    """Base of the SparseVD layers: everything but the linear map.

    A subclass registers its parameters with :meth:`add_params` and defines :meth:`linear`, the map of an input by
    weights (a product of matrices, a convolution) without the biases.

    In training, pre-activations are sampled rather than weights (local reparameterization): for the linear map f,
    their mean is f(A; theta), their variance f(A^2; alpha theta^2). In prediction (`deterministic=True`), the map is
    f(A; theta [log alpha < threshold]).

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape
    nonlinearity : callable or None
        applied to the pre-activations; None is the identity
    threshold : float
        a weight is pruned where log alpha >= threshold; 3 means a dropout rate of over 0.95
    train_clip : bool
        whether pruned weights are left out of the mean in training too. The paper's formulas leave none out; the
        authors' LeNet scripts do, the VGG-like one does not.
    pruned_noise : bool or None
        whether, with `train_clip`, pruned weights keep their share of the variance; None is as in the authors' code:
        dense layers keep it, convolutions do not
    pruned_kl : bool
        whether, with `train_clip`, pruned weights keep their share of the KL term; in the first version of the authors'
        code they did not
    kl : callable(log alpha) of KL, see :mod:`nets.kl`
    parameterization : str
        "additive": log sigma^2 is trained, so that the noise does not change with theta; "multiplicative": log alpha
        is, with sigma^2 = alpha theta^2, and the gradient to theta is noisier

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 4: additive noise reparameterization, and sparse variational dropout for
    fully-connected and convolutional layers. Figure 2 compares the parameterizations.
    """

    #: What `pruned_noise=None` means for this kind of layer.
    PRUNED_NOISE = True

    def __init__(self, incoming, nonlinearity=rectify, threshold=3.0, train_clip=True, pruned_noise=None,
                 pruned_kl=True, kl=kl.molchanov_2017, parameterization="additive", **kwargs):
        super().__init__(incoming, **kwargs)
        if parameterization not in PARAMETERIZATIONS:
            raise ValueError(f"parameterization={parameterization!r} is not one of {', '.join(PARAMETERIZATIONS)}")
        self.parameterization = parameterization
        self.nonlinearity = identity if nonlinearity is None else nonlinearity
        self.threshold = threshold
        self.train_clip = train_clip
        self.pruned_noise = self.PRUNED_NOISE if pruned_noise is None else pruned_noise
        self.pruned_kl = pruned_kl
        self.kl = kl
        self._posteriors = {}
        # As in Lasagne's own noise layers, the package-wide generator seeds the layer's.
        seed = lasagne.random.get_rng().randint(1, 2147462579)
        self._srng = NormalStream(seed) if kernels.enabled() else MRG_RandomStreams(seed)

    def add_params(self, W, log_sigma2, b, weights_shape, biases_shape):
        """Registers `W` (theta), the ordinary biases `b` (None leaves them out) and `log_sigma2` (log sigma^2).

        The order is that of the original's weight files. The tag `training_only` marks what a pruned network does
        without. In the multiplicative parameterization, `log_alpha` takes the place of `log_sigma2` and begins with
        the same posterior.
        """
        self.W = self.add_param(W, weights_shape, name="W")
        self.b = None if b is None else self.add_param(b, biases_shape, name="b", regularizable=False)
        tags = dict(regularizable=False, training_only=True)
        if self.parameterization == "additive":
            self.log_sigma2 = self.add_param(log_sigma2, weights_shape, name="log_sigma2", **tags)
        else:
            value = create_param(log_sigma2, weights_shape).get_value()
            self.log_alpha = self.add_param(self._log_alpha_of(value), weights_shape, name="log_alpha", **tags)

    def set_log_sigma2(self, value):
        """Sets log sigma^2 of the weights; in the multiplicative parameterization, by means of log alpha.

        Parameters
        ----------
        value : float or numpy array
            for all weights, or of their shape
        """
        W = self.W.get_value()
        value = np.broadcast_to(value, W.shape).astype(W.dtype)
        if self.parameterization == "additive":
            self.log_sigma2.set_value(value)
        else:
            self.log_alpha.set_value(self._log_alpha_of(value))

    def _log_alpha_of(self, log_sigma2):
        W = self.W.get_value()
        return (log_sigma2 - np.log(W ** 2 + EPSILON)).astype(W.dtype)

    def linear(self, input, weights):
        """The layer's linear map of `input` by `weights`, both Theano expressions."""
        raise NotImplementedError

    def linear_pair(self, input, weights, squares_weights):
        """The linear maps of `input` by `weights` and of its squares by `squares_weights`, as training needs them."""
        return self.linear(input, weights), self.linear(T.sqr(input), squares_weights)

    def get_log_alpha(self):
        """log alpha, a Theano expression of the weights' shape, within [-8, 8] and finite for theta = 0 too."""
        if self.parameterization == "multiplicative":
            return T.clip(self.log_alpha, -CLIP, CLIP)
        return T.clip(self.log_sigma2 - T.log(T.sqr(self.W) + EPSILON), -CLIP, CLIP)

    def get_mask(self):
        """1 where a weight is kept (log alpha < threshold), 0 where it is pruned; float, of the weights' shape."""
        return 1 - T.cast(T.ge(self.get_log_alpha(), self.threshold), self.W.dtype)

    def get_kl(self):
        """The sum of KL(q || p) over the layer's weights in nats; a Theano scalar."""
        return self._posterior()[2]

    def _posterior(self):
        """theta of the kept weights, alpha theta^2, and the sum of KL, as training needs them: Theano expressions."""
        if kernels.enabled() and self.parameterization == "additive":
            # The same expressions each time, so that predictions and KL have one gradient in common.
            constants = self._constants()
            if constants not in self._posteriors:
                self._posteriors[constants] = posterior(self.W, self.log_sigma2, constants)
            return self._posteriors[constants]
        log_alpha, mask = self.get_log_alpha(), self.get_mask()
        noisy, divergence = T.exp(log_alpha) * T.sqr(self.W), self.kl(log_alpha)
        if self.train_clip:
            noisy = noisy if self.pruned_noise else mask * noisy
            divergence = divergence if self.pruned_kl else mask * divergence
        return self.W * mask, noisy, T.sum(divergence)

    def _constants(self):
        return Constants(self.threshold, CLIP, EPSILON, self.pruned_noise or not self.train_clip,
                         self.pruned_kl or not self.train_clip, self.kl)

    def _pruned(self):
        if kernels.enabled() and self.parameterization == "additive":
            return kept(self.W, self.log_sigma2, self._constants())
        return self.W * self.get_mask()

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic:
            activation = self.linear(input, self._pruned())
        else:
            pruned, variances, _ = self._posterior()
            mean, variance = self.linear_pair(input, pruned if self.train_clip else self.W, variances)
            noise = self._srng.normal(mean.shape, dtype=mean.dtype)
            if kernels.enabled() and self.b is not None:
                rectified = self.nonlinearity is rectify
                activation = sample(mean, variance, noise, self.b, EPSILON, rectified)
                return activation if rectified else self.nonlinearity(activation)
            activation = mean + T.sqrt(variance + EPSILON) * noise
        if self.b is not None:
            activation = activation + self.b.dimshuffle("x", 0, *"x" * (activation.ndim - 2))
        return self.nonlinearity(activation)


class SparseVDDenseLayer(SparseVDLayer):
    """A fully-connected layer with sparse variational dropout.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape; axes after the first are flattened
    num_units : int
        the number of units
    W, log_sigma2 : Theano shared variable, expression, numpy array or callable
        initial theta and log sigma^2, of shape (inputs, num_units)
    b : Theano shared variable, expression, numpy array, callable or None
        initial biases, of shape (num_units,); None leaves them out
    **kwargs
        see :class:`SparseVDLayer`

    Examples
    --------
    >>> from lasagne.layers import InputLayer, get_output
    >>> from nets.layers.sparse_vd import SparseVDDenseLayer
    >>> network = SparseVDDenseLayer(InputLayer((None, 784)), num_units=300)
    >>> noisy, pruned = get_output(network), get_output(network, deterministic=True)
    """

    def __init__(self, incoming, num_units, W=Normal(0.01), b=Constant(0.0), log_sigma2=Constant(-10.0), **kwargs):
        super().__init__(incoming, **kwargs)
        self.num_units = num_units
        num_inputs = math.prod(self.input_shape[1:])
        self.add_params(W, log_sigma2, b, (num_inputs, num_units), (num_units,))

    def get_output_shape_for(self, input_shape):
        return (input_shape[0], self.num_units)

    def linear(self, input, weights):
        return product(flat(input), weights)

    def linear_pair(self, input, weights, squares_weights):
        if kernels.enabled():
            return dense_pair(flat(input), weights, squares_weights)
        return super().linear_pair(input, weights, squares_weights)


class SparseVDConv2DLayer(SparseVDLayer):
    """A 2-d convolutional layer with sparse variational dropout.

    Noise is drawn for each pre-activation: each image, filter, row and column. With `train_clip`, a pruned weight makes
    none (`pruned_noise`): but for the KL term, nothing acts on it any more.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape: (images, channels, rows, columns)
    num_filters, filter_size, stride, pad
        see :class:`nets.layers.conv.Convolution`
    untie_biases : bool
        not supported
    W, log_sigma2 : Theano shared variable, expression, numpy array or callable
        initial theta and log sigma^2, of shape (num_filters, channels, rows, columns)
    b : Theano shared variable, expression, numpy array, callable or None
        initial biases, of shape (num_filters,); None leaves them out
    **kwargs
        see :class:`SparseVDLayer`

    Raises
    ------
    ValueError
        for `untie_biases`, an input that is not 4-dimensional, or a padding that :class:`nets.layers.conv.Convolution` does
        not know.
    """

    PRUNED_NOISE = False

    def __init__(self, incoming, num_filters, filter_size, stride=1, pad=0, untie_biases=False, W=GlorotUniform(),
                 b=Constant(0.0), log_sigma2=Constant(-10.0), **kwargs):
        super().__init__(incoming, **kwargs)
        if untie_biases:
            raise ValueError("untie_biases=True is not supported: SparseVDConv2DLayer has one bias a filter")
        self.convolution = Convolution(self.input_shape, num_filters, filter_size, stride, pad)
        self.add_params(W, log_sigma2, b, self.convolution.weights_shape, (num_filters,))

    def get_output_shape_for(self, input_shape):
        return self.convolution.output_shape(input_shape)

    def linear(self, input, weights):
        return self.convolution(input, weights)

    def linear_pair(self, input, weights, squares_weights):
        if kernels.enabled():
            return conv_pair(input, weights, squares_weights, self.convolution)
        return super().linear_pair(input, weights, squares_weights)
