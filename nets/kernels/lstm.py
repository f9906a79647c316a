"""Sequences through an LSTM, all steps in one operation, and the gradient back through them in another.

Theano's own graph is a loop in Python around small operations, each with memory of its own.
"""

import theano
import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType, disconnected_grad

from nets.kernels.base import CppOp, in_cpp, kernel

__all__ = ["lstm", "LstmOp", "LstmGradients"]


def _lstm(x, w_h, h0, c0, mask=None, z_gates=None, z_outputs=None, hard=False):
    units = w_h.shape[0]
    gate = T.nnet.hard_sigmoid if hard else T.nnet.sigmoid
    scales = [z_gates, z_outputs] if z_gates is not None else []

    def step(x_t, *rest):
        mask_t, h, c, w, *scales = rest if mask is not None else (None, *rest)
        product = T.dot(h, w)
        a = x_t + (product * scales[0] if scales else product)
        i, f, g, o = (a[:, number * units:(number + 1) * units] for number in range(4))
        cell = gate(f) * c + gate(i) * T.tanh(g)
        output = gate(o) * T.tanh(cell)
        output = output * scales[1] if scales else output
        if mask is None:
            return output, cell
        kept = mask_t.dimshuffle(0, "x")
        return T.switch(kept, output, h), T.switch(kept, cell, c)

    sequences = [x.dimshuffle(1, 0, 2)] + ([mask.dimshuffle(1, 0)] if mask is not None else [])
    # Of scan's types, which must stay the same from step to step.
    start = [T.unbroadcast(state, 0, 1) for state in (h0, c0)]
    (h, c), _ = theano.scan(step, sequences=sequences, outputs_info=start, non_sequences=[w_h, *scales], strict=True)
    return h.dimshuffle(1, 0, 2), disconnected_grad(c.dimshuffle(1, 0, 2))


@kernel(plain=_lstm)
def lstm(x, w_h, h0, c0, mask=None, z_gates=None, z_outputs=None, hard=False):
    """An LSTM without peepholes, with multiplicative variables for its gates and outputs.

    With the gates i, f, c, o side by side, each of `units` columns, s the gates' nonlinearity:

        a_t = x_t + (h_{t-1} W_h) z_gates
        c_t = s(a_f) c_{t-1} + s(a_i) tanh(a_c)
        h_t = s(a_o) tanh(c_t) z_outputs

    Parameters
    ----------
    x : Theano 3-d expression
        (sequences, steps, 4 units): what the inputs and biases add to the pre-activations
    w_h : Theano matrix
        (units, 4 units)
    h0, c0 : Theano matrices
        (sequences, units), the state before the first step
    mask : Theano matrix or None
        (sequences, steps); where it is 0, h and c stay as they were, elsewhere it is 1
    z_gates, z_outputs : Theano matrices, or both None
        (sequences, 4 units) and (sequences, units), the same at all steps; None is 1
    hard : bool
        whether s is Theano's hard sigmoid, clip(0.2 a + 0.5, 0, 1), in place of the sigmoid

    Returns
    -------
    h, c : Theano 3-d expressions
        (sequences, steps, units); c, which is there to be carried on, has no gradient

    Raises
    ------
    ValueError
        if an operand is not of the operands' one float type or number of dimensions, or (when it is evaluated) if their
        shapes do not fit.

    References
    ----------
    Hochreiter, Schmidhuber (1997), Long short-term memory. Lobacheva, Chirkova, Vetrov (2018), Bayesian sparsification
    of gated recurrent neural networks, arXiv 1812.05692: z.
    """
    optional = ([] if mask is None else [mask]) + ([] if z_gates is None else [z_gates, z_outputs])
    h, c, *_ = LstmOp(hard, mask is not None, z_gates is not None)(x, w_h, h0, c0, *optional)
    return h, c


class _Lstm(CppOp):
    """`hard`, `masked`, `scaled` : bool, whether gates are hard sigmoids, and whether there are a mask and z."""

    __props__ = ("hard", "masked", "scaled", "openmp")
    sources = "tiles.h", "lstm.cpp"

    def __init__(self, hard, masked, scaled):
        super().__init__()
        self.hard, self.masked, self.scaled = hard, masked, scaled

    def call(self, function, dtype, before, optional, after, sub):
        """C++ that calls a function with the optional operands' places filled."""
        mask, z = (optional[:1], optional[1:]) if self.masked else (["NULL"], optional)
        arguments = ", ".join([in_cpp(self.hard), *before, *mask, *(z or ["NULL", "NULL"]), *after])
        return f"if (!lstm::{function}<npy_{dtype}>({arguments})) {sub['fail']}"

    @property
    def num_optional(self):
        """How many of the optional operands there are."""
        return self.masked + 2 * self.scaled


class LstmOp(_Lstm):
    """x, W_h, h0, c0[, mask][, z_gates, z_outputs] -> h, c, gates, products of h and W_h (empty without z)."""

    def make_node(self, x, *others):
        operands = [T.as_tensor_variable(operand) for operand in (x, *others)]
        dtype = operands[0].dtype
        if dtype not in ("float32", "float64") or [operand.ndim for operand in operands] != [3] + [2] * len(others) \
                or any(operand.dtype != dtype for operand in operands):
            raise ValueError("an LSTM takes 3-d pre-activations and matrices of one float type, not "
                             + ", ".join(str(operand.type) for operand in operands))
        return Apply(self, operands, [T.tensor3(dtype=dtype) for _ in range(4)])

    def infer_shape(self, node, shapes):
        (batch, steps, wide), (units, _) = shapes[:2]
        narrow, wide = (batch, steps, units), (batch, steps, wide)
        return [narrow, narrow, wide, wide if self.scaled else (0, 0, 0)]

    def connection_pattern(self, node):
        return [[number != 4 or not self.masked, False, False, False] for number in range(len(node.inputs))]

    def grad(self, inputs, output_gradients):
        if isinstance(output_gradients[0].type, DisconnectedType):
            return [DisconnectedType()() for _ in inputs]
        results = self(*inputs, return_list=True)
        d_x, d_w, d_h0, d_c0, *d_z = LstmGradients(self.hard, self.masked, self.scaled)(
            *inputs[1:], *results, output_gradients[0], return_list=True)
        mask = [DisconnectedType()()] if self.masked else []
        return [d_x, d_w, d_h0, d_c0, *mask, *d_z]

    def c_code(self, node, name, inputs, outputs, sub):
        after = [f"&{output}" for output in outputs]
        return self.call("run_forward", node.inputs[0].dtype, inputs[:4], inputs[4:], after, sub)


class LstmGradients(_Lstm):
    """W_h, h0, c0[, mask][, z], the four results, the gradient to h -> those to x, W_h, h0, c0[, z]."""

    def make_node(self, *inputs):
        *inputs, gradient = inputs
        inputs = [*inputs, T.cast(gradient, inputs[0].dtype)]
        dtype = inputs[0].dtype
        return Apply(self, inputs, [T.tensor3(dtype=dtype), *(T.matrix(dtype=dtype)
                                                              for _ in range(3 + 2 * self.scaled))])

    def infer_shape(self, node, shapes):
        w, h0, c0 = shapes[:3]
        z = shapes[3 + self.masked:3 + self.num_optional]
        gates = shapes[3 + self.num_optional + 2]
        return [gates, w, h0, c0, *z]

    def c_code(self, node, name, inputs, outputs, sub):
        end = 3 + self.num_optional
        after = [*inputs[end:], *(f"&{output}" for output in outputs), *(["NULL", "NULL"] if not self.scaled else [])]
        return self.call("run_backward", node.inputs[0].dtype, inputs[:3], inputs[3:end], after, sub)
