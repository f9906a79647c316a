"""2x2 max-pooling that remembers which of the four was the largest, for a fast gradient."""

import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType
from theano.tensor.signal.pool import pool_2d

from nets.kernels.base import CppOp, kernel

__all__ = ["max_pool_2x2", "MaxPool2x2Op", "MaxPool2x2Gradient"]


def _max_pool_2x2(x):
    return pool_2d(x, (2, 2), ignore_border=True)


@kernel(plain=_max_pool_2x2)
def max_pool_2x2(x):
    """The maxima of non-overlapping 2x2 windows; an odd last row or column is ignored.

    Gradients differ where elements of a window tie for
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
    return MaxPool2x2Op()(x)[0]


class MaxPool2x2Op(CppOp):
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

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = ", ".join([*inputs, f"&{outputs[0]}"])
        return f"if (!max_pool::run_backward<npy_{node.inputs[0].dtype}>({arguments})) {sub['fail']}"
