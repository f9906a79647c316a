"""Convolution, and the two of a SparseVD layer, its pre-activations' mean and variance, in one operation."""

import numpy as np
import theano.tensor as T
from numpy.lib.stride_tricks import sliding_window_view
from theano.gof import Apply, ParamsType, local_optimizer
from theano.gradient import DisconnectedType
from theano.scalar import int64, upcast
from theano.tensor.opt import register_specialize

from nets.ops.base import CppOp

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
    convolution : nets.conv.Convolution
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


class _ConvOp(CppOp):
    source = "conv.cpp"
    # Parameters rather than text of the C++ code, which is compiled once for all geometries.
    params_type = ParamsType(pad_rows=int64, pad_columns=int64, stride_rows=int64, stride_columns=int64)

    def __init__(self, pad, stride):
        super().__init__()
        self.pad = self.pad_rows, self.pad_columns = tuple(int(length) for length in pad)
        self.stride = self.stride_rows, self.stride_columns = tuple(int(length) for length in stride)

    def _operands(self, *operands):
        operands = [T.as_tensor_variable(operand) for operand in operands]
        if any(operand.ndim != 4 for operand in operands):
            types = ", ".join(str(operand.type) for operand in operands)
            raise ValueError(f"conv_pair takes 4-d operands, not {types}")
        dtype = upcast(*(operand.dtype for operand in operands))
        if dtype not in ("float32", "float64"):
            raise ValueError(f"a convolution takes float32 and float64, not {dtype}")
        return [T.cast(operand, dtype) for operand in operands]

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


def _pad_with_null(values, number=2):
    """C++ takes NULL for the second convolution's arrays where there is one only."""
    return [*values, *["NULL"] * (number - len(values))]


class Conv(_ConvOp):
    """x, w -> the convolution of x by w; x, w, v -> that and the convolution of x^2 by v. See :func:`conv_pair`.

    Parameters
    ----------
    pad, stride : tuple of 2 int
        rows and columns
    """

    __props__ = ("pad", "stride", "openmp")

    def make_node(self, x, *weights):
        x, *weights = self._operands(x, *weights)
        result = T.TensorType(x.dtype, (x.broadcastable[0], weights[0].broadcastable[0], False, False))
        return Apply(self, [x, *weights], [result() for _ in weights])

    def infer_shape(self, node, shapes):
        x, w = shapes[:2]
        lengths = [(x[axis] + 2 * pad - w[axis]) // stride + 1
                   for axis, pad, stride in zip((2, 3), self.pad, self.stride)]
        return [(x[0], w[0], *lengths)] * len(node.outputs)

    def grad(self, inputs, output_gradients):
        outputs = self(*inputs, return_list=True)
        output_gradients = [T.zeros_like(output) if isinstance(gradient.type, DisconnectedType) else gradient
                            for output, gradient in zip(outputs, output_gradients)]
        return ConvGradients(self.pad, self.stride)(*inputs, *output_gradients)

    def perform(self, node, inputs, outputs, params):
        x, *weights = inputs
        _, windows = self._windows(x, weights)
        for output, images, filters in zip(outputs, (windows, windows ** 2), weights):
            output[0] = np.ascontiguousarray(np.einsum("ncyxij,fcij->nfyx", images, filters, optimize=True))

    def c_code(self, node, name, inputs, outputs, sub):
        x, *weights = inputs
        outputs = [f"&{output}" for output in outputs]
        return self._call(node, "run_forward", [x, *_pad_with_null(weights), *_pad_with_null(outputs)], sub)


class ConvGradients(_ConvOp):
    """x, the weights, and the gradients to the results -> those to x and the weights; without x's if not `with_dx`.

    One operation has all of them, since they share the images' windows. Where nobody uses the gradient to x, as in a
    network's first layer, an optimization (FAST_RUN) takes it out.
    """

    __props__ = ("pad", "stride", "with_dx", "openmp")

    def __init__(self, pad, stride, with_dx=True):
        super().__init__(pad, stride)
        self.with_dx = with_dx

    def make_node(self, x, *weights_and_gradients):
        inputs = self._operands(x, *weights_and_gradients)
        number = len(weights_and_gradients) // 2
        return Apply(self, inputs, [operand.type() for operand in inputs[0 if self.with_dx else 1:1 + number]])

    def infer_shape(self, node, shapes):
        return shapes[0 if self.with_dx else 1:1 + len(shapes) // 2]

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
        x, *rest = inputs
        number = len(rest) // 2
        outputs = [f"&{output}" for output in outputs]
        dx = [] if self.with_dx else ["NULL"]
        return self._call(node, "run_backward", [x, *_pad_with_null(rest[:number]), *_pad_with_null(rest[number:]),
                                                 *dx, *_pad_with_null(outputs, 3 - len(dx))], sub)


@register_specialize
@local_optimizer([ConvGradients])
def local_conv_without_dx(node):
    """Leaves the gradient to the images out where nobody uses it."""
    if not isinstance(node.op, ConvGradients) or not node.op.with_dx or node.outputs[0].clients:
        return False
    gradients = ConvGradients(node.op.pad, node.op.stride, with_dx=False)(*node.inputs, return_list=True)
    return dict(zip(node.outputs[1:], gradients))
