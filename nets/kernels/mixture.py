"""-log of the density of a mixture of Gaussians, summed over the weights, with its gradients in the same pass.

Theano's own graph makes a dozen matrices of components and weights of it, which take ten times as long as a step of the
dense network.
"""

import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType, disconnected_grad

from nets.kernels.base import CppOp, kernel

__all__ = ["mixture_negative_log", "MixtureOp"]


def _mixture_negative_log(weights, means, precisions, constants):
    """With the responsibilities held fixed, the expected -log density has the same gradient.

    It is made of a few products of matrices, which takes a third of the time of Theano's gradient of the logarithm.
    """
    fixed = disconnected_grad(weights)
    logs = disconnected_grad(constants.dimshuffle(0, "x") - precisions.dimshuffle(0, "x") / 2 * T.sqr(
        weights.dimshuffle("x", 0) - means.dimshuffle(0, "x")))
    largest = T.max(logs, axis=0)
    # exp of a vector is vectorized, that of a difference with a broadcast operand is not.
    ratios = T.exp((logs - largest).flatten()).reshape(logs.shape)
    totals = T.dot(T.ones_like(means), ratios)
    value = -T.sum(largest + T.log(totals))

    moments = T.dot(ratios, T.stack([1 / totals, fixed / totals, fixed * fixed / totals], axis=1))
    numbers, sums, squares = (disconnected_grad(moments[:, power]) for power in range(3))
    to_weights = disconnected_grad((fixed * T.dot(precisions, ratios) - T.dot(precisions * means, ratios)) / totals)
    bound = T.dot(to_weights, weights) + T.sum(
        precisions / 2 * (squares - 2 * means * sums + means ** 2 * numbers) - numbers * constants)
    return disconnected_grad(value) + (bound - disconnected_grad(bound))


@kernel(plain=_mixture_negative_log)
def mixture_negative_log(weights, means, precisions, constants):
    """-log of the density of a mixture of Gaussians, summed over the weights; a Theano scalar.

    Parameters
    ----------
    weights : Theano vector
        float32 or float64
    means, precisions, constants : Theano vectors
        of the same dtype, an element a component: the log of its share times its density is
        constant - precision / 2 (weight - mean)^2

    Raises
    ------
    ValueError
        if they are of other types.

    References
    ----------
    Ullrich, Meeds, Welling (2017), Soft weight-sharing for neural network compression, section 3.
    """
    return MixtureOp()(weights, means, precisions, constants)[0]


class MixtureOp(CppOp):
    """Weights, means, precisions, constants -> the value of :func:`mixture_negative_log`, and its four gradients."""

    __props__ = ("openmp",)
    sources = "sums.h", "mixture.cpp"

    def make_node(self, *operands):
        operands = list(map(T.as_tensor_variable, operands))
        dtype = operands[0].dtype
        if any(operand.ndim != 1 or operand.dtype != dtype for operand in operands) or not dtype.startswith("float"):
            raise ValueError(f"the operands are of types {', '.join(str(operand.type) for operand in operands)}, not "
                             "vectors of one float")
        vector = T.TensorType(dtype, (False,))
        return Apply(self, operands, [T.TensorType(dtype, ())(), *(vector() for _ in operands)])

    def infer_shape(self, node, shapes):
        return [(), *shapes]

    def grad(self, inputs, output_gradients):
        g, *others = output_gradients
        if not all(isinstance(other.type, DisconnectedType) for other in others):
            raise NotImplementedError("the gradients of a mixture's density have no gradients")
        return [g * gradient for gradient in self(*inputs)[1:]]

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = ", ".join([*inputs, *(f"&{output}" for output in outputs)])
        return f"if (!mixture::run<npy_{node.inputs[0].dtype}>({arguments})) {sub['fail']}"
