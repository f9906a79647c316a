"""LSTM layers, dense and with SparseVD for their matrices and for groups of weights."""

import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne.init import Constant, GlorotUniform, Initializer, Orthogonal
from lasagne.layers import MergeLayer

from nets import kernels
from nets.layers.embedding import of_sequence, rows
from nets.layers.noise import layer_noise
from nets.layers.posterior import add_group, add_posterior
from nets.layers.weighted import WeightedLayer

__all__ = ["LSTMLayer", "SparseVDLSTMLayer", "GATES"]

#: The gates' order, side by side in the matrices' columns: input, forget, cell (the candidate), output.
GATES = "ifco"


class _ByGate(Initializer):
    """Initial weights of four gates side by side, each as the initializer says."""

    def __init__(self, initializer):
        self.initializer = initializer

    def sample(self, shape):
        rows, columns = shape
        return np.concatenate([self.initializer.sample((rows, columns // len(GATES))) for _ in GATES], axis=1)


class LSTMLayer(MergeLayer, WeightedLayer):
    """An LSTM without peepholes, see :func:`nets.kernels.lstm`; (sequences, steps, ...) to (sequences, steps, units).

    The input is features, (sequences, steps, features), or ids of tokens, int32, (sequences, steps), which stand for
    one-hot vectors. The state before the first step is 0, or goes on from the last batch.

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer`
    num_units : int
    num_inputs : int or None
        how many tokens there are, if the input is tokens
    tokens : :class:`lasagne.layers.Layer` or None
        ids, (sequences, steps), of which 0 is padding: there, the state stays as it is
    W_x, W_h : initial weights of one gate
        (inputs, units) and (units, units) for each of the four
    forget_bias : float
        where the forget gate's biases start; the others start at 0
    hard : bool
        whether gates are hard sigmoids
    last : bool
        whether the result is the last step's alone, (sequences, units)
    streams : int or None
        how many sequences there are, always the same, which go on from batch to batch; see :meth:`reset`
    **kwargs
        see :class:`lasagne.layers.Layer`

    Attributes
    ----------
    W_x, W_h, b : Theano shared variables
        (inputs, 4 units), (units, 4 units), (4 units,); gates in the order of `GATES`
    """

    def __init__(self, incoming, num_units, num_inputs=None, tokens=None, W_x=GlorotUniform(), W_h=Orthogonal(),
                 forget_bias=0.0, hard=False, last=False, streams=None, **kwargs):
        super().__init__([incoming] + ([] if tokens is None else [tokens]), **kwargs)
        self.num_units, self.one_hot, self.masked = num_units, num_inputs is not None, tokens is not None
        self.hard, self.last, self.streams = hard, last, streams
        wide = len(GATES) * num_units
        self.W_x = self.add_param(_by_gate(W_x), (num_inputs or self.input_shapes[0][2], wide), name="W_x")
        self.W_h = self.add_param(_by_gate(W_h), (num_units, wide), name="W_h")
        b = np.zeros(wide, theano.config.floatX)
        b[num_units:2 * num_units] = forget_bias
        self.b = self.add_param(b, (wide,), name="b", regularizable=False)
        self._states = {kind: [theano.shared(np.zeros((streams, num_units), theano.config.floatX),
                                             f"state/{self.name}.{kind}.{name}") for name in "hc"]
                        for kind in ("training", "prediction")} if streams else {}

    @property
    def weights(self):
        return [self.W_x, self.W_h]

    def reset(self):
        """Sets the state that goes on from batch to batch to 0, in training and in prediction."""
        for states in self._states.values():
            for state in states:
                state.set_value(np.zeros_like(state.get_value()))

    def get_output_shape_for(self, input_shapes):
        sequences, steps = input_shapes[0][:2]
        return (sequences, self.num_units) if self.last else (sequences, steps, self.num_units)

    def get_output_for(self, inputs, deterministic=False, effective=None, **kwargs):
        values = [self.effective(param, effective) for param in (self.W_x, self.W_h, self.b)]
        return self.run(inputs, *values, kind="prediction" if deterministic else "training")

    def run(self, inputs, W_x, W_h, b, z_x=None, z_gates=None, z_outputs=None, kind="prediction"):
        """The result for given weights; z_x, (sequences, inputs), and the others as in :func:`nets.kernels.lstm`."""
        input, mask = inputs[0], None
        if self.masked:
            mask = T.cast(T.neq(inputs[1], 0), b.dtype)
        if z_gates is None:
            x = self._products(input, W_x, z_x, b)
        else:
            x = self._products(input, W_x, z_x) * z_gates.dimshuffle(0, "x", 1) + b
        h0, c0 = states = self._start(kind, input)
        h, c = kernels.lstm(x, W_h, h0, c0, mask, z_gates, z_outputs, self.hard)
        if self.streams:
            for state, sequence in zip(states, (h, c)):
                state.default_update = T.unbroadcast(sequence[:, -1], 0, 1)
        return h[:, -1] if self.last else h

    def _products(self, input, W_x, z_x, b=None):
        if self.one_hot:
            if z_x is None:
                return rows(W_x if b is None else W_x + b, input)
            products = rows(W_x, input) * of_sequence(z_x, input)
        else:
            scaled = input if z_x is None else input * z_x.dimshuffle(0, "x", 1)
            products = kernels.dense(scaled.reshape((input.shape[0] * input.shape[1], W_x.shape[0])), W_x)
            products = products.reshape((input.shape[0], input.shape[1], W_x.shape[1]))
        return products if b is None else products + b

    def _start(self, kind, input):
        if not self.streams:
            zeros = T.zeros((input.shape[0], self.num_units), self.b.dtype)
            return zeros, zeros
        # Clones share their storage; default_update on the states themselves would act in every function.
        return [theano.clone(state, share_inputs=False) for state in self._states[kind]]


class SparseVDLSTMLayer(LSTMLayer):
    """The same with a posterior for each matrix and, where they are asked for, for variables of groups of weights.

    In training, matrices are drawn once a minibatch, the same for all steps and sequences; the groups' variables once a
    sequence, the same for all steps. In prediction they are part of the matrices. Those of the outputs are part of the
    next matrix, too: see `scale` of :class:`nets.layers.output.SparseVDOutputLayer`.

    Parameters
    ----------
    incoming, num_units, **kwargs
        see :class:`LSTMLayer`
    log_sigma2 : initial log sigma^2 of all posteriors
    groups : str
        which of the groups' variables there are: "x" of inputs, "h" of outputs, "g" of gates; "xh", for example
    posterior : dict
        of :class:`nets.layers.posterior.WeightPosterior`
    noise : object with `normal(size, dtype)`, or None
        see :func:`nets.layers.noise.layer_noise`

    Attributes
    ----------
    z_x, z_h, z_g : :class:`nets.layers.posterior.WeightPosterior` or None
        of (inputs,), (units,), (4 units,)

    References
    ----------
    Lobacheva, Chirkova, Vetrov (2017), Bayesian sparsification of recurrent neural networks, arXiv 1708.00077; (2018),
    Bayesian sparsification of gated recurrent neural networks, arXiv 1812.05692.
    """

    def __init__(self, incoming, num_units, log_sigma2=Constant(-6.0), groups="", posterior=(), noise=None, **kwargs):
        self.noise = noise or layer_noise(kwargs.get("name"))
        super().__init__(incoming, num_units, **kwargs)
        posterior = dict(posterior)
        self.posterior_x = add_posterior(self, self.W_x, log_sigma2, **posterior)
        self.posterior_h = add_posterior(self, self.W_h, log_sigma2, **posterior)
        inputs, wide = self.W_x.get_value(borrow=True).shape
        self.z_x, self.z_h, self.z_g = (
            add_group(self, f"z_{name}", length, log_sigma2, **posterior) if name in groups else None
            for name, length in (("x", inputs), ("h", num_units), ("g", wide)))

    @property
    def posteriors(self):
        """Of the matrices, then of the groups' variables."""
        return [own for own in (self.posterior_x, self.posterior_h, self.z_x, self.z_h, self.z_g) if own]

    def effective_params(self):
        W_x, W_h = self.posterior_x.kept, self.posterior_h.kept
        if self.z_x:
            W_x = W_x * self.z_x.kept.dimshuffle(0, "x")
        if self.z_h:
            W_h = W_h * self.z_h.kept.dimshuffle(0, "x")
        if self.z_g:
            W_x, W_h = W_x * self.z_g.kept, W_h * self.z_g.kept
        return {self.W_x: W_x, self.W_h: W_h}

    def get_output_for(self, inputs, deterministic=False, **kwargs):
        if deterministic:
            return super().get_output_for(inputs, deterministic=True, **kwargs)
        W_x, W_h = (own.sample(self._draw(own.theta.shape)) for own in (self.posterior_x, self.posterior_h))
        sequences = inputs[0].shape[0]
        z_x, z_h, z_g = (own and own.sample(self._draw((sequences, own.theta.shape[0])))
                         for own in (self.z_x, self.z_h, self.z_g))
        if z_h is None and z_g is not None:
            z_h = T.ones((sequences, self.num_units), self.b.dtype)
        if z_g is None and z_h is not None:
            z_g = T.ones((sequences, len(GATES) * self.num_units), self.b.dtype)
        return self.run(inputs, W_x, W_h, self.b, z_x, z_g, z_h, kind="training")

    def _draw(self, shape):
        return self.noise.normal(shape, dtype=self.b.dtype)


def _by_gate(weights):
    return _ByGate(weights) if isinstance(weights, lasagne.init.Initializer) else weights
