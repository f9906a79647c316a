"""Layers with sparse variational dropout (SparseVD).

A weight has the posterior N(theta, sigma^2); theta (`W`) and log sigma^2 (`log_sigma2`) are trained. Where
log alpha = log sigma^2 - log theta^2 reaches the threshold, the weight is noise and is pruned.

That is the parameterization of the paper, by additive noise. The one that it replaced, by multiplicative noise, trains
theta and log alpha (`log_alpha`) and is there to compare with.
"""

from functools import cached_property

import numpy as np
import theano.tensor as T
from lasagne.init import Constant, GlorotUniform, Normal
from lasagne.nonlinearities import rectify
from lasagne.utils import create_param

from nets import kernels, kl
from nets.layers.conv import Convolution
from nets.layers.dense import Product
from nets.layers.noise import layer_noise
from nets.layers.weighted import LinearLayer

__all__ = ["SparseVDLayer", "SparseVDDenseLayer", "SparseVDConv2DLayer", "PARAMETERIZATIONS"]

PARAMETERIZATIONS = ("additive", "multiplicative")


class SparseVDLayer(LinearLayer):
    """Base of the SparseVD layers: everything but the linear map.

    In training, pre-activations are sampled rather than weights (local reparameterization): for the linear map f,
    their mean is f(A; theta), their variance f(A^2; alpha theta^2). In prediction (`deterministic=True`), the map is
    f(A; theta [log alpha < threshold]).

    The parameters are `W` (theta), the ordinary biases `b` and `log_sigma2`, in the order of the original's weight
    files. The tag `training_only` marks what a pruned network does without. In the multiplicative parameterization,
    `log_alpha` takes the place of `log_sigma2` and begins with the same posterior.

    Parameters
    ----------
    incoming, linear, W, b, nonlinearity, **kwargs
        see :class:`nets.layers.weighted.LinearLayer`
    log_sigma2 : Theano shared variable, expression, numpy array or callable
        initial log sigma^2, of W's shape
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
    kl : :class:`nets.kl.SigmoidApproximation`
    parameterization : str
        "additive": log sigma^2 is trained, so that the noise does not change with theta; "multiplicative": log alpha
        is, with sigma^2 = alpha theta^2, and the gradient to theta is noisier
    noise : object with a method `normal(size, dtype)`, or None
        where normal numbers come from, see :func:`nets.kernels.normal_stream`; None is a stream of the layer's own

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 4: additive noise reparameterization, and sparse variational dropout for
    fully-connected and convolutional layers. Figure 2 compares the parameterizations.
    """

    #: What `pruned_noise=None` means for this kind of layer.
    PRUNED_NOISE = True
    #: log alpha is clipped to [-CLIP, CLIP]; outside, its gradient is 0.
    CLIP = 8.0
    #: Added to theta^2 and to a pre-activation's variance, so that logarithm and square root have finite gradients.
    EPSILON = 1e-8

    def __init__(self, incoming, linear, W, b, log_sigma2, nonlinearity=rectify, threshold=3.0, train_clip=True,
                 pruned_noise=None, pruned_kl=True, kl=kl.molchanov_2017, parameterization="additive", noise=None,
                 **kwargs):
        if parameterization not in PARAMETERIZATIONS:
            raise ValueError(f"parameterization={parameterization!r} is not one of {', '.join(PARAMETERIZATIONS)}")
        # Before the parameters, for both are drawn from Lasagne's generator: a seed gives the same as it always did.
        self.noise = noise or layer_noise(kwargs.get("name"))
        super().__init__(incoming, linear, W, b, nonlinearity, **kwargs)
        self.parameterization = parameterization
        self.train_clip = train_clip
        pruned_noise = self.PRUNED_NOISE if pruned_noise is None else pruned_noise
        self.constants = kernels.PosteriorConstants(threshold, self.CLIP, self.EPSILON, pruned_noise or not train_clip,
                                                    pruned_kl or not train_clip, kl)
        shape, tags = self.linear.weights_shape, dict(regularizable=False, training_only=True)
        if parameterization == "additive":
            self.log_sigma2 = self.add_param(log_sigma2, shape, name="log_sigma2", **tags)
        else:
            value = create_param(log_sigma2, shape).get_value()
            self.log_alpha = self.add_param(self._log_alpha_of(value), shape, name="log_alpha", **tags)

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

    def get_log_sigma2(self):
        """log sigma^2 of the weights, a numpy array of their shape."""
        if self.parameterization == "additive":
            return self.log_sigma2.get_value()
        return self._log_sigma2_of(self.log_alpha.get_value())

    def set_log_alpha(self, value):
        """Sets log alpha of the weights, an array of their shape; in the additive parameterization, log sigma^2."""
        if self.parameterization == "additive":
            self.log_sigma2.set_value(self._log_sigma2_of(value))
        else:
            self.log_alpha.set_value(value.astype(self.W.dtype))

    def _log_alpha_of(self, log_sigma2):
        return (log_sigma2 - self._log_theta2()).astype(self.W.dtype)

    def _log_sigma2_of(self, log_alpha):
        return (log_alpha + self._log_theta2()).astype(self.W.dtype)

    def _log_theta2(self):
        return np.log(self.W.get_value() ** 2 + self.EPSILON)

    def get_log_alpha(self):
        """log alpha, a Theano expression of the weights' shape, within [-8, 8] and finite for theta = 0 too."""
        if self.parameterization == "multiplicative":
            return T.clip(self.log_alpha, -self.CLIP, self.CLIP)
        return T.clip(self.log_sigma2 - T.log(T.sqr(self.W) + self.EPSILON), -self.CLIP, self.CLIP)

    def get_mask(self):
        """1 where a weight is kept (log alpha < threshold), 0 where it is pruned; float, of the weights' shape."""
        return 1 - T.cast(T.ge(self.get_log_alpha(), self.constants.threshold), self.W.dtype)

    def effective_params(self):
        return {self.W: self.W * self.get_mask()}

    def get_kl(self):
        """The sum of KL(q || p) over the layer's weights in nats; a Theano scalar."""
        return self.posterior.kl

    @cached_property
    def posterior(self):
        """What training needs of the weights; made once, so that predictions and KL have one gradient in common."""
        if self.parameterization == "multiplicative":
            return kernels.posterior_of_log_alpha(self.W, self.get_log_alpha(), self.constants)
        return kernels.posterior(self.W, self.log_sigma2, self.constants)

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic:
            return super().get_output_for(input, **kwargs)
        theta = self.posterior.kept if self.train_clip else self.W
        mean, variance = self.linear.pair(input, theta, self.posterior.variances)
        noise = self.noise.normal(mean.shape, dtype=mean.dtype)
        return kernels.sample(mean, variance, noise, self.b, self.EPSILON, self.nonlinearity)


class SparseVDDenseLayer(SparseVDLayer):
    """A fully-connected layer with sparse variational dropout.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape; axes after the first are flattened
    num_units : int
        the number of units
    W, log_sigma2, b, **kwargs
        see :class:`SparseVDLayer`; weights are of shape (inputs, num_units), biases (num_units,)

    Examples
    --------
    >>> from lasagne.layers import InputLayer, get_output
    >>> from nets.layers.sparse_vd import SparseVDDenseLayer
    >>> network = SparseVDDenseLayer(InputLayer((None, 784)), num_units=300)
    >>> noisy, pruned = get_output(network), get_output(network, deterministic=True)
    """

    def __init__(self, incoming, num_units, W=Normal(0.01), b=Constant(0.0), log_sigma2=Constant(-10.0), **kwargs):
        self.num_units = num_units
        super().__init__(incoming, lambda shape: Product(shape, num_units), W, b, log_sigma2, **kwargs)


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
    W, log_sigma2, b, **kwargs
        see :class:`SparseVDLayer`; weights are of shape (num_filters, channels, rows, columns), biases (num_filters,)

    Raises
    ------
    ValueError
        for `untie_biases`, an input that is not 4-dimensional, or a padding that :class:`nets.layers.conv.Convolution`
        does not know.
    """

    PRUNED_NOISE = False

    def __init__(self, incoming, num_filters, filter_size, stride=1, pad=0, untie_biases=False, W=GlorotUniform(),
                 b=Constant(0.0), log_sigma2=Constant(-10.0), **kwargs):
        if untie_biases:
            raise ValueError("untie_biases=True is not supported: SparseVDConv2DLayer has one bias a filter")
        super().__init__(incoming, lambda shape: Convolution(shape, num_filters, filter_size, stride, pad), W, b,
                         log_sigma2, **kwargs)
