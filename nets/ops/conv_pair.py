"""The two convolutions of a SparseVD layer, its pre-activations' mean and variance, in one operation."""

import numpy as np
import theano.tensor as T
from numpy.lib.stride_tricks import sliding_window_view
from theano.gof import Apply, ParamsType, local_optimizer
from theano.gradient import DisconnectedType
from theano.scalar import int64, upcast
from theano.tensor.opt import register_specialize

from nets.ops.base import CppOp

__all__ = ["conv_pair", "ConvPair", "ConvPairGradients"]


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
    return ConvPair(convolution.pad, convolution.stride)(x, w, v)


class _ConvPairOp(CppOp):
    source = "conv_pair.cpp"
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
            raise ValueError(f"conv_pair takes float32 and float64, not {dtype}")
        return [T.cast(operand, dtype) for operand in operands]

    def _call(self, node, function, arguments, sub):
        return f"""
            const npy_intp pad[] = {{{sub["params"]}->pad_rows, {sub["params"]}->pad_columns}};
            const npy_intp stride[] = {{{sub["params"]}->stride_rows, {sub["params"]}->stride_columns}};
            if (!conv_pair::{function}<npy_{node.inputs[0].dtype}>({", ".join(arguments)}, pad, stride)) {sub["fail"]}
        """

    def _windows(self, x, w, v):
        """The images' windows that filters see: (images, channels, rows, columns, filter rows, filter columns)."""
        (top, left), (down, right) = self.pad, self.stride
        padded = np.pad(x, [(0, 0), (0, 0), (top, top), (left, left)])
        if w.shape != v.shape or w.shape[1] != x.shape[1] or any(np.less(padded.shape[2:], w.shape[2:])):
            raise ValueError(f"conv_pair: images {x.shape} with padding {self.pad} do not fit weights {w.shape} and "
                             f"{v.shape}")
        return padded, sliding_window_view(padded, w.shape[2:], axis=(2, 3))[:, :, ::down, ::right]


class ConvPair(_ConvPairOp):
    """x, w, v -> mean, variance; see :func:`conv_pair`.

    Parameters
    ----------
    pad, stride : tuple of 2 int
        rows and columns
    """

    __props__ = ("pad", "stride", "openmp")

    def make_node(self, x, w, v):
        x, w, v = self._operands(x, w, v)
        result = T.TensorType(x.dtype, (x.broadcastable[0], w.broadcastable[0], False, False))
        return Apply(self, [x, w, v], [result(), result()])

    def infer_shape(self, node, shapes):
        x, w, _ = shapes
        lengths = [(x[axis] + 2 * pad - w[axis]) // stride + 1
                   for axis, pad, stride in zip((2, 3), self.pad, self.stride)]
        return [(x[0], w[0], *lengths)] * 2

    def grad(self, inputs, output_gradients):
        outputs = self(*inputs)
        output_gradients = [T.zeros_like(output) if isinstance(gradient.type, DisconnectedType) else gradient
                            for output, gradient in zip(outputs, output_gradients)]
        return ConvPairGradients(self.pad, self.stride)(*inputs, *output_gradients)

    def perform(self, node, inputs, outputs, params):
        x, w, v = inputs
        _, windows = self._windows(x, w, v)
        for output, images, weights in zip(outputs, (windows, windows ** 2), (w, v)):
            output[0] = np.ascontiguousarray(np.einsum("ncyxij,fcij->nfyx", images, weights, optimize=True))

    def c_code(self, node, name, inputs, outputs, sub):
        return self._call(node, "run_forward", [*inputs, *(f"&{output}" for output in outputs)], sub)


class ConvPairGradients(_ConvPairOp):
    """x, w, v and the gradients to mean and variance -> those to x, w, v; without x's if not `with_dx`.

    One operation has all three, since they share the images' windows. Where nobody uses the gradient to x, as in a
    network's first layer, an optimization (FAST_RUN) takes it out.
    """

    __props__ = ("pad", "stride", "with_dx", "openmp")

    def __init__(self, pad, stride, with_dx=True):
        super().__init__(pad, stride)
        self.with_dx = with_dx

    def make_node(self, x, w, v, g_mean, g_variance):
        inputs = self._operands(x, w, v, g_mean, g_variance)
        return Apply(self, inputs, [operand.type() for operand in inputs[0 if self.with_dx else 1:3]])

    def infer_shape(self, node, shapes):
        return shapes[0 if self.with_dx else 1:3]

    def perform(self, node, inputs, outputs, params):
        x, w, v, *gradients = inputs
        padded, windows = self._windows(x, w, v)
        for output, images, gradient in zip(outputs[-2:], (windows, windows ** 2), gradients):
            output[0] = np.einsum("ncyxij,nfyx->fcij", images, gradient, optimize=True).astype(x.dtype)
        if self.with_dx:
            dx = np.zeros_like(padded)
            to_mean, to_variance = (np.einsum("fcij,nfyx->ncyxij", weights, gradient, optimize=True)
                                    for weights, gradient in zip((w, v), gradients))
            to_windows = to_mean + 2 * windows * to_variance
            (down, right), (rows, columns) = self.stride, to_windows.shape[2:4]
            for i, j in np.ndindex(w.shape[2:]):
                dx[:, :, i:i + down * rows:down, j:j + right * columns:right] += to_windows[..., i, j]
            (top, left), (height, width) = self.pad, x.shape[2:]
            outputs[0][0] = np.ascontiguousarray(dx[:, :, top:top + height, left:left + width])

    def c_code(self, node, name, inputs, outputs, sub):
        dx = [] if self.with_dx else ["NULL"]
        return self._call(node, "run_backward", [*inputs, *dx, *(f"&{output}" for output in outputs)], sub)


@register_specialize
@local_optimizer([ConvPairGradients])
def local_conv_pair_without_dx(node):
    """Leaves the gradient to the images out where nobody uses it."""
    if not isinstance(node.op, ConvPairGradients) or not node.op.with_dx or node.outputs[0].clients:
        return False
    dw, dv = ConvPairGradients(node.op.pad, node.op.stride, with_dx=False)(*node.inputs)
    return dict(zip(node.outputs[1:], (dw, dv)))
