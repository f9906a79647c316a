"""Product of matrices, and the two of a SparseVD layer, its pre-activations' mean and variance, in one operation."""

import theano.tensor as T
from theano.tensor.opt import register_specialize

from nets.kernels.linear import Linear, LinearGradients, leave_dx_out

__all__ = ["dense", "dense_pair", "Dense", "DenseGradients"]


def dense(x, w):
    """The product of `x` and `w`; parameters and errors as for :func:`dense_pair`."""
    return Dense()(x, w)


def dense_pair(x, w, v):
    """The product of `x` and `w`, and that of x^2 and `v`.

    Parameters
    ----------
    x : Theano matrix
        (images, inputs)
    w, v : Theano matrices
        (inputs, units)

    Returns
    -------
    mean, variance : Theano matrices
        (images, units): T.dot(x, w) and T.dot(T.sqr(x), v)

    Raises
    ------
    ValueError
        if an operand is not a matrix of floats, or (when it is evaluated) if their shapes do not fit.
    """
    return Dense()(x, w, v)


def _check_shapes(x, weights):
    w, v = weights[0], weights[-1]
    if w.shape != v.shape or w.shape[0] != x.shape[1]:
        raise ValueError(f"product: inputs {x.shape} do not fit weights {w.shape} and {v.shape}")


class Dense(Linear):
    """x, w -> x w; x, w, v -> that and x^2 v. See :func:`dense_pair`."""

    __props__ = ("openmp",)
    ndim = 2
    sources = "tiles.h", "dense.cpp"

    def result_type(self, x, w):
        return T.TensorType(x.dtype, (x.broadcastable[0], w.broadcastable[1]))

    def gradients(self):
        return DenseGradients()

    def infer_shape(self, node, shapes):
        x, w = shapes[:2]
        return [(x[0], w[1])] * len(node.outputs)

    def perform(self, node, inputs, outputs):
        x, *weights = inputs
        _check_shapes(x, weights)
        for output, rows, columns in zip(outputs, (x, x ** 2), weights):
            output[0] = rows @ columns

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = ", ".join(self.arguments(inputs, outputs))
        return f"if (!dense::run_forward<npy_{node.inputs[0].dtype}>({arguments})) {sub['fail']}"


class DenseGradients(LinearGradients):
    """The gradients of :class:`Dense`; see :class:`nets.kernels.linear.LinearGradients`."""

    __props__ = ("with_dx", "openmp")
    ndim = 2
    sources = "tiles.h", "dense.cpp"

    def __init__(self, with_dx=True):
        super().__init__()
        self.with_dx = with_dx

    def perform(self, node, inputs, outputs):
        x, *rest = inputs
        weights, gradients = rest[:len(rest) // 2], rest[len(rest) // 2:]
        _check_shapes(x, weights)
        for output, rows, gradient in zip(outputs[-len(weights):], (x, x ** 2), gradients):
            output[0] = rows.T @ gradient
        if self.with_dx:
            outputs[0][0] = sum(factor * (gradient @ columns.T)
                                for factor, columns, gradient in zip((1, 2 * x), weights, gradients))

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = ", ".join(self.arguments(inputs, outputs))
        return f"if (!dense::run_backward<npy_{node.inputs[0].dtype}>({arguments})) {sub['fail']}"


register_specialize(leave_dx_out(DenseGradients, lambda op: DenseGradients(with_dx=False)))
