"""The pre-activations of a SparseVD layer, sampled: mean, noise, bias and rectifier in one pass."""

import theano.tensor as T
from lasagne.nonlinearities import identity, rectify
from theano.gof import Apply
from theano.gradient import DisconnectedType

from nets.kernels.base import InPlaceOp, in_cpp, kernel

__all__ = ["sample", "SampleOp", "SampleGradients"]


def _sample(mean, variance, noise, b, epsilon, nonlinearity=identity):
    # Some of cuDNN's algorithms round a variance of 0 to below 0.
    z = mean + T.sqrt(T.maximum(variance, 0) + epsilon) * noise
    if b is not None:
        z += b.dimshuffle("x", 0, *"x" * (mean.ndim - 2))
    return nonlinearity(z)


@kernel(plain=_sample)
def sample(mean, variance, noise, b, epsilon, nonlinearity=identity):
    """The nonlinearity of mean + sqrt(variance + epsilon) noise + b.

    Parameters
    ----------
    mean, variance, noise : Theano expressions
        of one type, float32 or float64, with channels (or units) as axis 1
    b : Theano vector or None
        (channels,), the biases; None is 0
    epsilon : float
    nonlinearity : callable
        Lasagne's rectifier is part of the operation; its gradient at 0 is then 0 (1/2 in Theano)

    Returns
    -------
    Theano expression
        of the mean's shape

    Raises
    ------
    ValueError
        if the operands are of other types, or (when it is evaluated) if their shapes do not fit.

    References
    ----------
    Kingma, Salimans, Welling (2015), Variational dropout and the local reparameterization trick.
    """
    if b is None:
        b = T.zeros((mean.shape[1],), mean.dtype)
    rectified = nonlinearity is rectify
    result = SampleOp(float(epsilon), rectified)(mean, variance, noise, b)
    return result if rectified else nonlinearity(result)


class _Sampling(InPlaceOp):
    __props__ = ("epsilon", "rectified", "in_place", "openmp")
    sources = "sums.h", "sample.cpp"

    def __init__(self, epsilon, rectified, in_place=False):
        self.epsilon, self.rectified = epsilon, rectified
        super().__init__(in_place)

    def _call(self, function, node, arguments, sub):
        dtype = f"npy_{node.inputs[0].dtype}"
        template = f"{in_cpp(self.rectified)}, {dtype}"
        arguments = ", ".join([f"{dtype}({self.epsilon!r})", in_cpp(self.in_place), *arguments])
        return f"if (!sample::{function}<{template}>({arguments})) {sub['fail']}"


class SampleOp(_Sampling):
    """mean, variance, noise, b -> the sampled activations; see :func:`sample`."""

    def make_node(self, mean, variance, noise, b):
        operands = mean, variance, noise, b = [T.as_tensor_variable(operand) for operand in (mean, variance, noise, b)]
        dtypes = {operand.dtype for operand in operands}
        if len(dtypes) > 1 or mean.dtype not in ("float32", "float64") or mean.ndim < 2 or b.ndim != 1 or any(
                operand.ndim != mean.ndim for operand in (variance, noise)):
            raise ValueError("sample takes three arrays of floats and a vector, not "
                             + ", ".join(str(operand.type) for operand in operands))
        return Apply(self, operands, [mean.type()])

    def overwritten(self):
        return {0: 0}

    def infer_shape(self, node, shapes):
        return shapes[:1]

    def grad(self, inputs, output_gradients):
        mean, variance, noise, b = inputs
        g, = output_gradients
        if self.rectified:
            d_mean, d_variance, d_b = SampleGradients(self.epsilon, True)(variance, noise, self(*inputs), g)
        else:
            d_mean, (d_variance, d_b) = g, SampleGradients(self.epsilon, False)(variance, noise, g)
        return [d_mean, d_variance, DisconnectedType()(), d_b]

    def connection_pattern(self, node):
        return [[True], [True], [False], [True]]

    def c_code(self, node, name, inputs, outputs, sub):
        return self._call("run_forward", node, [*inputs, f"&{outputs[0]}"], sub)


class SampleGradients(_Sampling):
    """variance, noise, (rectified: the activations,) the gradient to them -> (those to mean,) variance and b."""

    def make_node(self, variance, noise, *rest):
        rest = [T.cast(operand, variance.dtype) for operand in rest]
        b = T.TensorType(variance.dtype, (False,))
        types = [variance.type] * len(rest) + [b]
        return Apply(self, [variance, noise, *rest], [type() for type in types])

    def overwritten(self):
        return {0: 3, 1: 0} if self.rectified else {0: 0}

    def infer_shape(self, node, shapes):
        return [shapes[0]] * (len(node.outputs) - 1) + [(shapes[0][1],)]

    def c_code(self, node, name, inputs, outputs, sub):
        outputs = [f"&{output}" for output in outputs]
        if not self.rectified:
            variance, noise, g = inputs
            return self._call("run_backward", node, [variance, noise, "NULL", g, "NULL", *outputs], sub)
        return self._call("run_backward", node, [*inputs, *outputs], sub)
