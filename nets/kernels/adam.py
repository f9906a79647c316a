"""The Adam optimizer, one operation a parameter."""

from collections import OrderedDict

import numpy as np
import theano
import theano.tensor as T
from theano.gof import Apply

from nets.kernels.base import InPlaceOp, in_cpp

__all__ = ["adam", "AdamStep"]


def adam(loss, params, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Updates as of :func:`lasagne.updates.adam`, with the same state in the same order.

    Parameters
    ----------
    loss : Theano scalar
    params : list of Theano shared variables
    learning_rate : Theano scalar or float
    beta1, beta2 : float
        the decay of the averages of gradients and of their squares
    epsilon : float

    Returns
    -------
    OrderedDict
        {shared variable: expression}: for each parameter the averages of its gradients and of their squares, and
        itself; the number of steps at the end

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization; the formulation before section 2.1.
    """
    updates = OrderedDict()
    dtype = theano.config.floatX
    steps = theano.shared(np.zeros((), dtype))
    t = steps + 1
    rate = T.cast(learning_rate * T.sqrt(1 - beta2 ** t) / (1 - beta1 ** t), dtype)
    step = AdamStep(beta1, beta2, epsilon)
    for param, gradient in zip(params, T.grad(loss, params)):
        state = [theano.shared(np.zeros_like(param.get_value(borrow=True)), broadcastable=param.broadcastable)
                 for _ in range(2)]
        updated, *averages = step(param, gradient, *state, T.cast(rate, param.dtype))
        updates.update(zip(state, averages))
        updates[param] = updated
    updates[steps] = t
    return updates


class AdamStep(InPlaceOp):
    """param, gradient, averages of gradients and of squares, rate -> the next param and averages.

    The rate is that of this step, with the corrections of both averages for their start.
    """

    __props__ = ("beta1", "beta2", "epsilon", "in_place", "openmp")
    sources = "adam.cpp",

    def __init__(self, beta1, beta2, epsilon, in_place=False):
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)
        super().__init__(in_place)

    def make_node(self, param, gradient, mean, square, rate):
        operands = [T.as_tensor_variable(operand) for operand in (param, gradient, mean, square, rate)]
        *arrays, rate = operands
        dtype = arrays[0].dtype
        alike = all((array.dtype, array.ndim) == (dtype, arrays[0].ndim) for array in arrays)
        if not alike or dtype not in ("float32", "float64") or (rate.dtype, rate.ndim) != (dtype, 0):
            raise ValueError("a step of Adam takes four arrays of floats and a rate of their dtype, not "
                             + ", ".join(str(operand.type) for operand in operands))
        return Apply(self, operands, [array.type() for array in (arrays[0], *arrays[2:])])

    def overwritten(self):
        return {0: 0, 1: 2, 2: 3}

    def infer_shape(self, node, shapes):
        return [shapes[0], *shapes[2:4]]

    def perform(self, node, inputs, outputs):
        param, gradient, mean, square, rate = inputs
        mean = self.beta1 * mean + (1 - self.beta1) * gradient
        square = self.beta2 * square + (1 - self.beta2) * gradient ** 2
        new = param - rate * mean / (np.sqrt(square) + self.epsilon), mean, square
        for output, value in zip(outputs, new):
            output[0] = np.asarray(value, param.dtype)

    def c_code(self, node, name, inputs, outputs, sub):
        dtype = f"npy_{node.inputs[0].dtype}"
        constants = ", ".join(f"{dtype}({value!r})" for value in (self.beta1, self.beta2, self.epsilon))
        arguments = ", ".join([f"adam::Constants<{dtype}>{{{constants}}}", in_cpp(self.in_place), *inputs,
                               *(f"&{output}" for output in outputs)])
        return f"if (!adam::run<{dtype}>({arguments})) {sub['fail']}"
