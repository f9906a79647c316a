"""Binary dropout, fast on a CPU."""

import lasagne
import theano.tensor as T
from lasagne.layers import DropoutLayer
from scipy.stats import norm

from nets import kernels
from nets.kernels.normal import NormalStream

__all__ = ["BinaryDropoutLayer"]


class BinaryDropoutLayer(DropoutLayer):
    """Sets inputs to zero with probability `p` and scales the others by 1 / (1 - p); in prediction, does nothing.

    The same as Lasagne's `DropoutLayer`, but for where its random numbers come from on a CPU: normal ones of our own
    generator, compared with their p-quantile, take a tenth of the time.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape
    p : float
        the rate
    **kwargs
        see :class:`lasagne.layers.DropoutLayer`
    """

    def __init__(self, incoming, p=0.5, **kwargs):
        super().__init__(incoming, p, **kwargs)
        self._normal = NormalStream(lasagne.random.get_rng().randint(1, 2147462579))

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic or self.p == 0 or not kernels.enabled():
            return super().get_output_for(input, deterministic=deterministic, **kwargs)
        kept = T.ge(self._normal.normal(input.shape, dtype=input.dtype), T.cast(norm.ppf(self.p), input.dtype))
        # A product: Theano's switch is several times as slow.
        return input * (T.cast(kept, input.dtype) * T.cast(1 / (1 - self.p), input.dtype))
