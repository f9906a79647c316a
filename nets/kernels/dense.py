"""Product of matrices, and the two of a SparseVD layer, its pre-activations' mean and variance, in one operation."""

import theano.tensor as T
from theano.tensor.opt import register_specialize

from nets.kernels.base import kernel
from nets.kernels.linear import Linear, LinearGradients, leave_dx_out

__all__ = ["dense", "dense_pair", "DenseOp", "DenseGradients"]


def _dense(x, w):
    return T.dot(x, w)


def _dense_pair(x, w, v):
    return T.dot(x, w), T.dot(T.sqr(x), v)


@kernel(plain=_dense)
def dense(x, w):
    """The product of `x` and `w`; parameters and errors as for :func:`dense_pair`."""
    return DenseOp()(x, w)


@kernel(plain=_dense_pair)
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
        (images, units): x w and x^2 v

    Raises
    ------
    ValueError
        if an operand is not a matrix of floats, or (when it is evaluated) if their shapes do not fit.
    """
    return DenseOp()(x, w, v)


class DenseOp(Linear):
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

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = ", ".join(self.arguments(inputs, outputs))
        return f"if (!dense::run_forward<npy_{node.inputs[0].dtype}>({arguments})) {sub['fail']}"


class DenseGradients(LinearGradients):
    """The gradients of :class:`DenseOp`; see :class:`nets.kernels.linear.LinearGradients`."""

    __props__ = ("with_dx", "openmp")
    ndim = 2
    sources = "tiles.h", "dense.cpp"

    def __init__(self, with_dx=True):
        super().__init__()
        self.with_dx = with_dx

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = ", ".join(self.arguments(inputs, outputs))
        return f"if (!dense::run_backward<npy_{node.inputs[0].dtype}>({arguments})) {sub['fail']}"


register_specialize(leave_dx_out(DenseGradients, lambda op: DenseGradients(with_dx=False)))
