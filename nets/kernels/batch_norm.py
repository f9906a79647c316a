"""Batch normalization in training: statistics, normalization and rectifier in one operation."""

import theano.tensor as T
from lasagne.nonlinearities import identity, rectify
from theano.gof import Apply
from theano.gradient import DisconnectedType
from theano.tensor.nnet.bn import batch_normalization_train

from nets.kernels.base import CppOp, InPlaceOp, in_cpp, kernel

__all__ = ["batch_norm", "BatchNormOp", "BatchNormGradients"]


def _batch_norm(x, gamma, beta, epsilon, nonlinearity=identity):
    # On a GPU, it is cuDNN's.
    result, mean, inv_std = batch_normalization_train(x, gamma, beta, (0, *range(2, x.ndim)), epsilon)
    return nonlinearity(result), mean, inv_std


@kernel(plain=_batch_norm)
def batch_norm(x, gamma, beta, epsilon, nonlinearity=identity):
    """The nonlinearity of gamma (x - mean) inv_std + beta, with the batch's mean and inv_std.

    Parameters
    ----------
    x : Theano expression
        at least 2-dimensional, float32 or float64, with channels as axis 1
    gamma, beta : Theano vectors
        (channels,)
    epsilon : float
        added to the variance: inv_std = 1 / sqrt(variance + epsilon)
    nonlinearity : callable
        Lasagne's rectifier is part of the operation; its gradient at 0 is then 0 (1/2 in Theano)

    Returns
    -------
    result, mean, inv_std : Theano expressions
        the result, of x's shape; vectors that have no gradients

    Raises
    ------
    ValueError
        if the operands are of other types, or (when it is evaluated) if their shapes do not fit.

    References
    ----------
    Ioffe, Szegedy (2015), Batch normalization: accelerating deep network training by reducing internal covariate shift.
    """
    rectified = nonlinearity is rectify
    result, mean, inv_std = BatchNormOp(float(epsilon), rectified)(x, gamma, beta)
    return result if rectified else nonlinearity(result), mean, inv_std


class BatchNormOp(CppOp):
    """x, gamma, beta -> the normalized x, mean, inv_std; see :func:`batch_norm`."""

    __props__ = ("epsilon", "rectified", "openmp")
    sources = "sums.h", "batch_norm.cpp"

    def __init__(self, epsilon, rectified):
        super().__init__()
        self.epsilon, self.rectified = epsilon, rectified

    def make_node(self, x, gamma, beta):
        operands = x, gamma, beta = [T.as_tensor_variable(operand) for operand in (x, gamma, beta)]
        if (x.ndim < 2 or gamma.ndim != 1 or beta.ndim != 1 or x.dtype not in ("float32", "float64")
                or not x.dtype == gamma.dtype == beta.dtype):
            raise ValueError("batch_norm takes an array of floats and two vectors, not "
                             + ", ".join(str(operand.type) for operand in operands))
        return Apply(self, operands, [x.type(), gamma.type(), gamma.type()])

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[1], shapes[1]]

    def grad(self, inputs, output_gradients):
        g, *others = output_gradients
        if not all(isinstance(other.type, DisconnectedType) for other in others):
            raise NotImplementedError("mean and inv_std of batch_norm have no gradients")
        y, mean, inv_std = self(*inputs)
        outputs = [y] if self.rectified else []
        return BatchNormGradients(self.rectified)(*inputs[:2], mean, inv_std, *outputs, g)

    def c_code(self, node, name, inputs, outputs, sub):
        dtype = f"npy_{node.inputs[0].dtype}"
        arguments = ", ".join([f"{dtype}({self.epsilon!r})", *inputs, *(f"&{output}" for output in outputs)])
        return f"if (!batch_norm::run_forward<{in_cpp(self.rectified)}, {dtype}>({arguments})) {sub['fail']}"


class BatchNormGradients(InPlaceOp):
    """x, gamma, mean, inv_std, (rectified: the result,) the gradient to it -> those to x, gamma and beta."""

    __props__ = ("rectified", "in_place", "openmp")
    sources = "sums.h", "batch_norm.cpp"

    def __init__(self, rectified, in_place=False):
        self.rectified = rectified
        super().__init__(in_place)

    def make_node(self, x, gamma, *rest):
        rest = [T.cast(operand, x.dtype) for operand in rest]
        return Apply(self, [x, gamma, *rest], [x.type(), gamma.type(), gamma.type()])

    def overwritten(self):
        return {0: 5 if self.rectified else 4}

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[1], shapes[1]]

    def c_code(self, node, name, inputs, outputs, sub):
        *operands, g = inputs
        outputs = [f"&{output}" for output in outputs]
        arguments = ", ".join([in_cpp(self.in_place), *operands, *([] if self.rectified else ["NULL"]), g, *outputs])
        template = f"{in_cpp(self.rectified)}, npy_{node.inputs[0].dtype}"
        return f"if (!batch_norm::run_backward<{template}>({arguments})) {sub['fail']}"
