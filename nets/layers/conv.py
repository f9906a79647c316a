"""The 2-d convolution that dense and SparseVD layers share, and the dense layer made of it."""

from lasagne.init import Constant, GlorotUniform
from lasagne.nonlinearities import rectify
from lasagne.utils import as_tuple

from nets import kernels
from nets.layers.weighted import LinearLayer

__all__ = ["Convolution", "Conv2DLayer"]


class Convolution:
    """A 2-d convolution of images by filters: its shapes, and the linear map itself.

    It is a cross-correlation, as cuDNN computes and as the original's weights expect: filters are not flipped.

    Parameters
    ----------
    input_shape : tuple
        (images, channels, rows, columns); all but the channels may be None
    num_filters : int
    filter_size, stride : int or tuple of 2 int
        rows and columns
    pad : int, tuple of 2 int, "valid", "same" or "full"
        rows and columns of zeros on each side; "same" takes odd filter sizes only

    Attributes
    ----------
    weights_shape : tuple of int
        (filters, channels, rows, columns)
    num_outputs : int
        the number of filters
    fixed_zeros : bool
        whether nobody needs the gradients to weights that are 0 in :meth:`pair`; set by the layer

    Raises
    ------
    ValueError
        if the input is not 4-dimensional, padding or stride is not one of those, or an image is smaller than a filter.
    """

    def __init__(self, input_shape, num_filters, filter_size, stride=1, pad=0):
        if len(input_shape) != 4:
            raise ValueError(f"a 2-d convolution takes (images, channels, rows, columns), not {input_shape}")
        size = as_tuple(filter_size, 2)
        if pad == "same" and not all(length % 2 for length in size):
            raise ValueError(f"pad='same' takes odd filter sizes, not {size}: give the padding in numbers")
        named = {"valid": (0, 0), "same": (size[0] // 2, size[1] // 2), "full": (size[0] - 1, size[1] - 1)}
        if isinstance(pad, str) and pad not in named:
            raise ValueError(f"pad={pad!r} is neither a number, nor two, nor one of {', '.join(named)}")
        self.pad = named[pad] if isinstance(pad, str) else as_tuple(pad, 2, int)
        self.stride = as_tuple(stride, 2, int)
        if min(self.pad) < 0 or min(self.stride) < 1:
            raise ValueError(f"pad={self.pad} and stride={self.stride}: padding is 0 or more, a stride 1 or more")
        self.input_shape = input_shape
        self.fixed_zeros = False
        self.num_outputs = num_filters
        self.weights_shape = (num_filters, input_shape[1], *size)
        if any(length is not None and length < 1 for length in self.output_shape(input_shape)[2:]):
            raise ValueError(f"images of {input_shape[2]}x{input_shape[3]} are too small for filters of "
                             f"{size[0]}x{size[1]}")

    def output_shape(self, input_shape):
        """The shape of the result, (images, filters, rows, columns)."""
        lengths = [None if length is None else (length + 2 * pad - size) // stride + 1 for length, pad, size, stride
                   in zip(input_shape[2:], self.pad, self.weights_shape[2:], self.stride)]
        return (input_shape[0], self.num_outputs, *lengths)

    def __call__(self, input, weights):
        """The convolution of `input` by `weights`, both Theano 4-d expressions."""
        return kernels.conv(input, weights, self)

    def pair(self, input, weights, squares_weights):
        """The convolutions of `input` by `weights` and of its squares by `squares_weights`."""
        return kernels.conv_pair(input, weights, squares_weights, self)


class Conv2DLayer(LinearLayer):
    """An ordinary 2-d convolutional layer. Lasagne's flips its filters (0.1 always, 0.2 by default), this one does not.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape: (images, channels, rows, columns)
    num_filters, filter_size, stride, pad
        see :class:`Convolution`
    W, b, nonlinearity, **kwargs
        see :class:`nets.layers.weighted.LinearLayer`
    """

    def __init__(self, incoming, num_filters, filter_size, stride=1, pad=0, W=GlorotUniform(), b=Constant(0.0),
                 nonlinearity=rectify, **kwargs):
        super().__init__(incoming, lambda shape: Convolution(shape, num_filters, filter_size, stride, pad), W, b,
                         nonlinearity, **kwargs)
