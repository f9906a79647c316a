"""Layers with sparse variational dropout (SparseVD).

A weight has the posterior N(theta, sigma^2); theta (`W`) and log sigma^2 (`log_sigma2`) are trained. Where
log alpha = log sigma^2 - log theta^2 reaches the threshold, the weight is noise and is pruned.

That is the parameterization of the paper, by additive noise. The one that it replaced, by multiplicative noise, trains
theta and log alpha (`log_alpha`) and is there to compare with.
"""

from lasagne.init import Constant, GlorotUniform, Normal
from lasagne.nonlinearities import rectify
from lasagne.utils import create_param

from nets import kernels, kl
from nets.layers.conv import Convolution
from nets.layers.dense import Product
from nets.layers.noise import layer_noise
from nets.layers.posterior import PARAMETERIZATIONS, WeightPosterior
from nets.layers.weighted import LinearLayer

__all__ = ["SparseVDLayer", "SparseVDDenseLayer", "SparseVDConv2DLayer", "PARAMETERIZATIONS"]


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
    #: Of the posterior, and added to a pre-activation's variance, so that its square root has a finite gradient.
    CLIP, EPSILON = WeightPosterior.CLIP, WeightPosterior.EPSILON

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
        shape, tags = self.linear.weights_shape, dict(regularizable=False, training_only=True)
        own = "log_sigma2" if parameterization == "additive" else "log_alpha"
        value = log_sigma2 if parameterization == "additive" else create_param(log_sigma2, shape).get_value()
        setattr(self, own, self.add_param(value, shape, name=own, **tags))
        self.posterior = WeightPosterior(self.W, getattr(self, own), threshold, pruned_noise or not train_clip,
                                         pruned_kl or not train_clip, kl, parameterization)
        if parameterization == "multiplicative":
            self.posterior.set_log_sigma2(value)
        # As those of the posterior.
        self.set_log_sigma2, self.get_log_sigma2 = self.posterior.set_log_sigma2, self.posterior.get_log_sigma2
        self.set_log_alpha = self.posterior.set_log_alpha

    @property
    def posteriors(self):
        """The layer's :class:`nets.layers.posterior.WeightPosterior` objects."""
        return [self.posterior]

    def get_mask(self):
        """1 where a weight is kept (log alpha < threshold), 0 where it is pruned; float, of the weights' shape."""
        return self.posterior.mask

    def effective_params(self):
        return {self.W: self.posterior.kept}

    def get_kl(self):
        """The sum of KL(q || p) over the layer's weights in nats; a Theano scalar."""
        return self.posterior.kl

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic:
            return super().get_output_for(input, **kwargs)
        moments = self.posterior.moments
        mean, variance = self.linear.pair(input, moments.kept if self.train_clip else self.W, moments.variances)
        noise = self.draw_noise(input, mean)
        return kernels.sample(mean, variance, noise, self.b, self.EPSILON, self.nonlinearity)

    def draw_noise(self, input, mean):
        """Standard normal numbers of the pre-activations' shape: fresh ones for each."""
        return self.noise.normal(mean.shape, dtype=mean.dtype)


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
        self.linear.fixed_zeros = self.train_clip
