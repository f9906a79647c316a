"""Convolution, and the two of a SparseVD layer, its pre-activations' mean and variance, in one operation."""

import numpy as np
import theano.tensor as T
from numpy.lib.stride_tricks import sliding_window_view
from theano.gof import ParamsType
from theano.scalar import int64
from theano.tensor.opt import register_specialize

from nets.kernels.linear import Linear, LinearGradients, leave_dx_out

__all__ = ["conv", "conv_pair", "Conv", "ConvGradients"]


def conv(x, w, convolution):
    """The convolution of `x` by `w`; parameters and errors as for :func:`conv_pair`."""
    return Conv(convolution.pad, convolution.stride)(x, w)


def conv_pair(x, w, v, convolution):
    """The convolution of `x` by `w`, and that of x^2 by `v`.

    Parameters
    ----------
    x : Theano 4-d expression
        (images, channels, rows, columns)
    w, v : Theano 4-d expressions
        (filters, channels, rows, columns)
    convolution : nets.layers.conv.Convolution
        the geometry

    Returns
    -------
    mean, variance : Theano 4-d expressions
        convolution(x, w) and convolution(T.sqr(x), v)

    Raises
    ------
    ValueError
        if an operand is not 4-dimensional, or (when it is evaluated) if their shapes do not fit.
    """
    return Conv(convolution.pad, convolution.stride)(x, w, v)


class _Geometry:
    """Padding and stride, rows and columns of each: what both operations are made with."""

    ndim = 4
    sources = "tiles.h", "conv.cpp"
    # Parameters rather than text of the C++ code, which is compiled once for all geometries.
    params_type = ParamsType(pad_rows=int64, pad_columns=int64, stride_rows=int64, stride_columns=int64)

    def __init__(self, pad, stride):
        super().__init__()
        self.pad = self.pad_rows, self.pad_columns = tuple(int(length) for length in pad)
        self.stride = self.stride_rows, self.stride_columns = tuple(int(length) for length in stride)

    def _call(self, node, function, arguments, sub):
        return f"""
            const npy_intp pad[] = {{{sub["params"]}->pad_rows, {sub["params"]}->pad_columns}};
            const npy_intp stride[] = {{{sub["params"]}->stride_rows, {sub["params"]}->stride_columns}};
            if (!conv::{function}<npy_{node.inputs[0].dtype}>({", ".join(arguments)}, pad, stride)) {sub["fail"]}
        """

    def _windows(self, x, weights):
        """The images' windows that filters see: (images, channels, rows, columns, filter rows, filter columns)."""
        (top, left), (down, right) = self.pad, self.stride
        padded = np.pad(x, [(0, 0), (0, 0), (top, top), (left, left)])
        w, v = weights[0], weights[-1]
        if w.shape != v.shape or w.shape[1] != x.shape[1] or any(np.less(padded.shape[2:], w.shape[2:])):
            raise ValueError(f"convolution: images {x.shape} with padding {self.pad} do not fit weights {w.shape} and "
                             f"{v.shape}")
        return padded, sliding_window_view(padded, w.shape[2:], axis=(2, 3))[:, :, ::down, ::right]


class Conv(_Geometry, Linear):
    """x, w -> the convolution of x by w; x, w, v -> that and the convolution of x^2 by v. See :func:`conv_pair`.

    Parameters
    ----------
    pad, stride : tuple of 2 int
        rows and columns
    """

    __props__ = ("pad", "stride", "openmp")

    def result_type(self, x, w):
        return T.TensorType(x.dtype, (x.broadcastable[0], w.broadcastable[0], False, False))

    def gradients(self):
        return ConvGradients(self.pad, self.stride)

    def infer_shape(self, node, shapes):
        x, w = shapes[:2]
        lengths = [(x[axis] + 2 * pad - w[axis]) // stride + 1
                   for axis, pad, stride in zip((2, 3), self.pad, self.stride)]
        return [(x[0], w[0], *lengths)] * len(node.outputs)

    def perform(self, node, inputs, outputs, params):
        x, *weights = inputs
        _, windows = self._windows(x, weights)
        for output, images, filters in zip(outputs, (windows, windows ** 2), weights):
            output[0] = np.ascontiguousarray(np.einsum("ncyxij,fcij->nfyx", images, filters, optimize=True))

    def c_code(self, node, name, inputs, outputs, sub):
        return self._call(node, "run_forward", self.arguments(inputs, outputs), sub)


class ConvGradients(_Geometry, LinearGradients):
    """x, the weights, and the gradients to the results -> those to x and the weights; without x's if not `with_dx`.

    One operation has all of them, since they share the images' windows.
    """

    __props__ = ("pad", "stride", "with_dx", "openmp")

    def __init__(self, pad, stride, with_dx=True):
        super().__init__(pad, stride)
        self.with_dx = with_dx

    def perform(self, node, inputs, outputs, params):
        x, *rest = inputs
        weights, gradients = rest[:len(rest) // 2], rest[len(rest) // 2:]
        padded, windows = self._windows(x, weights)
        for output, images, gradient in zip(outputs[-len(weights):], (windows, windows ** 2), gradients):
            output[0] = np.einsum("ncyxij,nfyx->fcij", images, gradient, optimize=True).astype(x.dtype)
        if self.with_dx:
            dx = np.zeros_like(padded)
            to_windows = sum(factor * np.einsum("fcij,nfyx->ncyxij", filters, gradient, optimize=True)
                             for factor, filters, gradient in zip((1, 2 * windows), weights, gradients))
            (down, right), (rows, columns) = self.stride, to_windows.shape[2:4]
            for i, j in np.ndindex(weights[0].shape[2:]):
                dx[:, :, i:i + down * rows:down, j:j + right * columns:right] += to_windows[..., i, j]
            (top, left), (height, width) = self.pad, x.shape[2:]
            outputs[0][0] = np.ascontiguousarray(dx[:, :, top:top + height, left:left + width])

    def c_code(self, node, name, inputs, outputs, sub):
        return self._call(node, "run_backward", self.arguments(inputs, outputs), sub)


register_specialize(leave_dx_out(ConvGradients, lambda op: ConvGradients(op.pad, op.stride, with_dx=False)))
