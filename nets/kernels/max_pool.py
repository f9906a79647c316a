"""2x2 max-pooling that remembers which of the four was the largest, for a fast gradient."""

import numpy as np
import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType

from nets.kernels.base import CppOp

__all__ = ["max_pool_2x2", "MaxPool2x2", "MaxPool2x2Gradient"]


def max_pool_2x2(x):
    """The maxima of non-overlapping 2x2 windows; an odd last row or column is ignored.

    Values are those of `pool_2d(x, (2, 2), ignore_border=True)`. Gradients differ where elements of a window tie for
    the maximum: here the first, row by row, has the gradient; in Theano each of them has all of it, so that it counts
    up to four times. Ties of zeros after a ReLU do not matter, since its gradient is 0 below zero. Others do, without
    noise: on a constant background, a convolution's results are equal, and where they are positive, Theano's gradient
    to them is too large. SparseVD's noise leaves practically none.

    Parameters
    ----------
    x : Theano 4-d expression
        (images, channels, rows, columns)

    Raises
    ------
    ValueError
        if it is not 4-dimensional, or not of floats
    """
    return MaxPool2x2()(x)[0]


def _windows(x):
    """(images, channels, rows, columns, 4): the windows' elements, row by row."""
    images, channels, rows, columns = x.shape
    x = x[:, :, :rows // 2 * 2, :columns // 2 * 2].reshape(images, channels, rows // 2, 2, columns // 2, 2)
    return x.transpose(0, 1, 2, 4, 3, 5).reshape(images, channels, rows // 2, columns // 2, 4)


class MaxPool2x2(CppOp):
    """x -> the maxima, and which of its window's four each is (uint8, row by row); see :func:`max_pool_2x2`."""

    __props__ = ("openmp",)
    sources = ("max_pool.cpp",)

    def make_node(self, x):
        x = T.as_tensor_variable(x)
        if x.ndim != 4 or x.dtype not in ("float32", "float64"):
            raise ValueError(f"max_pool_2x2 takes a 4-d float32 or float64 expression, not {x.type}")
        broadcastable = (*x.broadcastable[:2], False, False)
        return Apply(self, [x], [T.TensorType(dtype, broadcastable)() for dtype in (x.dtype, "uint8")])

    def infer_shape(self, node, shapes):
        (images, channels, rows, columns), = shapes
        return [(images, channels, rows // 2, columns // 2)] * 2

    def connection_pattern(self, node):
        return [[True, False]]

    def grad(self, inputs, output_gradients):
        if isinstance(output_gradients[0].type, DisconnectedType):
            return [DisconnectedType()()]
        return [MaxPool2x2Gradient()(inputs[0], self(*inputs)[1], output_gradients[0])]

    def perform(self, node, inputs, outputs):
        windows = _windows(inputs[0])
        outputs[0][0] = windows.max(-1)
        outputs[1][0] = windows.argmax(-1).astype("uint8")

    def c_code(self, node, name, inputs, outputs, sub):
        x, (largest, which) = inputs[0], outputs
        return f"if (!max_pool::run_forward<npy_{node.inputs[0].dtype}>({x}, &{largest}, &{which})) {sub['fail']}"


class MaxPool2x2Gradient(CppOp):
    """x (its shape only), which, the gradient to the maxima -> the gradient to x."""

    __props__ = ("openmp",)
    sources = ("max_pool.cpp",)

    def make_node(self, x, which, gradient):
        return Apply(self, [x, which, T.cast(gradient, x.dtype)], [x.type()])

    def infer_shape(self, node, shapes):
        return shapes[:1]

    def perform(self, node, inputs, outputs):
        x, which, gradient = inputs
        dx = np.zeros_like(x)
        for number, (row, column) in enumerate(np.ndindex(2, 2)):
            part = dx[:, :, row:x.shape[2] // 2 * 2:2, column:x.shape[3] // 2 * 2:2]
            part[...] = np.where(which == number, gradient, 0)
        outputs[0][0] = dx

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = ", ".join([*inputs, f"&{outputs[0]}"])
        return f"if (!max_pool::run_backward<npy_{node.inputs[0].dtype}>({arguments})) {sub['fail']}"
