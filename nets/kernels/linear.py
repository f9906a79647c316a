"""What the linear maps of a layer, and the pairs of a SparseVD layer, have in common: their operations' Theano side."""

import theano.tensor as T
from theano.gof import Apply, local_optimizer
from theano.gradient import DisconnectedType
from theano.scalar import upcast

from nets.kernels.base import CppOp

__all__ = ["Linear", "LinearGradients", "leave_dx_out"]


class Linear(CppOp):
    """x, w -> f(x; w); x, w, v -> f(x; w) and f(x^2; v), with f linear in both of its arguments.

    A subclass has `ndim`, the operands' number of dimensions; `result_type`, of x and w; `gradients()`, the
    :class:`LinearGradients`; and what every operation has.
    """

    ndim = None

    def make_node(self, x, *weights):
        x, *weights = _operands(self.ndim, x, *weights)
        return Apply(self, [x, *weights], [self.result_type(x, weights[0])() for _ in weights])

    def grad(self, inputs, output_gradients):
        outputs = self(*inputs, return_list=True)
        output_gradients = [T.zeros_like(output) if isinstance(gradient.type, DisconnectedType) else gradient
                            for output, gradient in zip(outputs, output_gradients)]
        return self.gradients()(*inputs, *output_gradients)

    def arguments(self, inputs, outputs):
        """Of the C++ function: NULL for the arrays of the second map where there is one only."""
        x, *weights = inputs
        return [x, *_pad_with_null(weights), *_pad_with_null([f"&{output}" for output in outputs])]


class LinearGradients(CppOp):
    """x, the weights, and the gradients to the results -> those to x and the weights; without x's if not `with_dx`.

    Where nobody uses the gradient to x, as in a network's first layer, an optimization (FAST_RUN) takes it out; see
    :func:`leave_dx_out`.
    """

    ndim = None
    with_dx = True

    def make_node(self, x, *weights_and_gradients):
        inputs = _operands(self.ndim, x, *weights_and_gradients)
        number = len(weights_and_gradients) // 2
        return Apply(self, inputs, [operand.type() for operand in inputs[0 if self.with_dx else 1:1 + number]])

    def infer_shape(self, node, shapes):
        return shapes[0 if self.with_dx else 1:1 + len(shapes) // 2]

    def arguments(self, inputs, outputs):
        """Of the C++ function: NULL for the arrays that there are not."""
        x, *rest = inputs
        number = len(rest) // 2
        outputs = [*([] if self.with_dx else ["NULL"]), *(f"&{output}" for output in outputs)]
        return [x, *_pad_with_null(rest[:number]), *_pad_with_null(rest[number:]), *_pad_with_null(outputs, 3)]


def leave_dx_out(gradients_class, without_dx):
    """An optimization that leaves the gradient to x out where nobody uses it.

    Parameters
    ----------
    gradients_class : subclass of :class:`LinearGradients`
    without_dx : callable(operation) -> operation
        the same one without it
    """
    @local_optimizer([gradients_class])
    def local_without_dx(node):
        if not isinstance(node.op, gradients_class) or not node.op.with_dx or node.outputs[0].clients:
            return False
        gradients = without_dx(node.op)(*node.inputs, return_list=True)
        return dict(zip(node.outputs[1:], gradients))
    local_without_dx.__name__ = f"local_{gradients_class.__name__}_without_dx"
    return local_without_dx


def _operands(ndim, *operands):
    operands = [T.as_tensor_variable(operand) for operand in operands]
    types = ", ".join(str(operand.type) for operand in operands)
    if any(operand.ndim != ndim for operand in operands):
        raise ValueError(f"a linear map takes {ndim}-d operands, not {types}")
    dtype = upcast(*(operand.dtype for operand in operands))
    if dtype not in ("float32", "float64"):
        raise ValueError(f"a linear map takes float32 and float64, not {types}")
    return [T.cast(operand, dtype) for operand in operands]


def _pad_with_null(values, number=2):
    return [*values, *["NULL"] * (number - len(values))]
