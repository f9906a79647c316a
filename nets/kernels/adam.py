"""The Adam optimizer, one operation a parameter."""

from collections import OrderedDict

import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne.updates import get_or_compute_grads
from theano.gof import Apply

from nets.kernels.base import InPlaceOp, in_cpp, kernel

__all__ = ["adam", "AdamStep"]


def _adam(loss_or_grads, params, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, name="adam"):
    updates = lasagne.updates.adam(loss_or_grads, params, learning_rate, beta1, beta2, epsilon)
    # mean, square, param for each param, and the steps.
    *averages, steps = (variable for variable in updates if variable not in params)
    for param, mean, square in zip(params, averages[::2], averages[1::2]):
        mean.name, square.name = f"{name}/{param.name}.mean", f"{name}/{param.name}.square"
    steps.name = f"{name}/step"
    return updates


@kernel(plain=_adam)
def adam(loss_or_grads, params, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, name="adam"):
    """Updates as of :func:`lasagne.updates.adam`, with a state that has names.

    Groups of parameters with a learning rate each take a call each, with another `name`.

    Parameters
    ----------
    loss_or_grads : Theano scalar, or list of Theano expressions
        the loss, or its gradients to the parameters
    params : list of Theano shared variables
    learning_rate : Theano scalar or float
    beta1, beta2 : float
        the decay of the averages of gradients and of their squares
    epsilon : float
    name : str
        what the names of the state's variables begin with

    Returns
    -------
    OrderedDict
        {shared variable: expression}: for each parameter the averages of its gradients, `<name>/<parameter>.mean`, and
        of their squares, `<name>/<parameter>.square`, and itself; the number of steps, `<name>/step`, at the end

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization; the formulation before section 2.1.
    """
    updates = OrderedDict()
    # Not on a GPU, where the rate would be made of it by a kernel for each operation.
    steps = theano.shared(np.zeros((), theano.config.floatX), f"{name}/step", target="cpu")
    t = steps + 1
    rate = learning_rate * T.sqrt(1 - beta2 ** t) / (1 - beta1 ** t)
    step = AdamStep(beta1, beta2, epsilon)
    for param, gradient in zip(params, get_or_compute_grads(loss_or_grads, params), strict=True):
        state = [theano.shared(np.zeros_like(param.get_value(borrow=True)), f"{name}/{param.name}.{average}",
                               broadcastable=param.broadcastable) for average in ("mean", "square")]
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

    def c_code(self, node, name, inputs, outputs, sub):
        dtype = f"npy_{node.inputs[0].dtype}"
        constants = ", ".join(f"{dtype}({value!r})" for value in (self.beta1, self.beta2, self.epsilon))
        arguments = ", ".join([f"adam::Constants<{dtype}>{{{constants}}}", in_cpp(self.in_place), *inputs,
                               *(f"&{output}" for output in outputs)])
        return f"if (!adam::run<{dtype}>({arguments})) {sub['fail']}"
