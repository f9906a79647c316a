"""Convolution, and the two of a SparseVD layer, its pre-activations' mean and variance, in one operation."""

import theano.tensor as T
from theano.gof import ParamsType
from theano.scalar import int64
from theano.tensor.opt import register_specialize

from nets.kernels.base import kernel
from nets.kernels.linear import Linear, LinearGradients, leave_dx_out

__all__ = ["conv", "conv_pair", "ConvOp", "ConvGradients"]


def _conv(x, w, geometry):
    return T.nnet.conv2d(x, w, geometry.input_shape, geometry.weights_shape, border_mode=geometry.pad,
                         subsample=geometry.stride, filter_flip=False)


def _conv_pair(x, w, v, geometry):
    return _conv(x, w, geometry), _conv(T.sqr(x), v, geometry)


@kernel(plain=_conv)
def conv(x, w, geometry):
    """The convolution of `x` by `w`; parameters and errors as for :func:`conv_pair`."""
    return ConvOp(geometry.pad, geometry.stride)(x, w)


@kernel(plain=_conv_pair)
def conv_pair(x, w, v, geometry):
    """The convolution of `x` by `w`, and that of x^2 by `v`.

    Where few weights are other than 0, they are multiplied one by one.

    Parameters
    ----------
    x : Theano 4-d expression
        (images, channels, rows, columns)
    w, v : Theano 4-d expressions
        (filters, channels, rows, columns)
    geometry : nets.layers.conv.Convolution
        or what else has its `pad`, `stride`, `input_shape`, `weights_shape` and `fixed_zeros`: whether nobody needs the
        gradients to elements of w and v that are 0, which may then come out as 0

    Returns
    -------
    mean, variance : Theano 4-d expressions
        (images, filters, rows, columns); filters are not flipped

    Raises
    ------
    ValueError
        if an operand is not 4-dimensional, or (when it is evaluated) if their shapes do not fit.
    """
    return ConvOp(geometry.pad, geometry.stride, geometry.fixed_zeros)(x, w, v)


class _Geometry:
    """Padding and stride, rows and columns of each, and `fixed_zeros`: what both operations are made with."""

    ndim = 4
    sources = "tiles.h", "panels.h", "few_weights.h", "conv.cpp"
    # Parameters rather than text of the C++ code, which is compiled once for all geometries.
    params_type = ParamsType(pad_rows=int64, pad_columns=int64, stride_rows=int64, stride_columns=int64,
                             fixed_zeros=int64)

    def __init__(self, pad, stride, fixed_zeros=False):
        super().__init__()
        self.fixed_zeros = bool(fixed_zeros)
        self.pad = self.pad_rows, self.pad_columns = tuple(int(length) for length in pad)
        self.stride = self.stride_rows, self.stride_columns = tuple(int(length) for length in stride)

    def _call(self, node, function, arguments, sub):
        return f"""
            const npy_intp pad[] = {{{sub["params"]}->pad_rows, {sub["params"]}->pad_columns}};
            const npy_intp stride[] = {{{sub["params"]}->stride_rows, {sub["params"]}->stride_columns}};
            if (!conv::{function}<npy_{node.inputs[0].dtype}>({", ".join(arguments)}, pad, stride)) {sub["fail"]}
        """


class ConvOp(_Geometry, Linear):
    """x, w -> the convolution of x by w; x, w, v -> that and the convolution of x^2 by v. See :func:`conv_pair`.

    Parameters
    ----------
    pad, stride : tuple of 2 int
        rows and columns
    fixed_zeros : bool
    """

    __props__ = ("pad", "stride", "fixed_zeros", "openmp")

    def result_type(self, x, w):
        return T.TensorType(x.dtype, (x.broadcastable[0], w.broadcastable[0], False, False))

    def gradients(self):
        return ConvGradients(self.pad, self.stride, self.fixed_zeros)

    def infer_shape(self, node, shapes):
        x, w = shapes[:2]
        lengths = [(x[axis] + 2 * pad - w[axis]) // stride + 1
                   for axis, pad, stride in zip((2, 3), self.pad, self.stride)]
        return [(x[0], w[0], *lengths)] * len(node.outputs)

    def c_code(self, node, name, inputs, outputs, sub):
        return self._call(node, "run_forward", self.arguments(inputs, outputs), sub)


class ConvGradients(_Geometry, LinearGradients):
    """x, the weights, and the gradients to the results -> those to x and the weights; without x's if not `with_dx`.

    One operation has all of them, since they share the images' windows.
    """

    __props__ = ("pad", "stride", "fixed_zeros", "with_dx", "openmp")

    def __init__(self, pad, stride, fixed_zeros=False, with_dx=True):
        super().__init__(pad, stride, fixed_zeros)
        self.with_dx = with_dx

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = [*self.arguments(inputs, outputs), f"{sub['params']}->fixed_zeros"]
        return self._call(node, "run_backward", arguments, sub)


register_specialize(leave_dx_out(ConvGradients, lambda op: ConvGradients(op.pad, op.stride, op.fixed_zeros, False)))
