"""Embeddings: a row of weights for each word, dense and with SparseVD."""

import theano.tensor as T
from lasagne.init import Constant, Uniform

from nets.layers.noise import layer_noise
from nets.layers.posterior import add_group, add_posterior
from nets.layers.weighted import WeightedLayer

__all__ = ["EmbeddingLayer", "SparseVDEmbeddingLayer", "of_sequence", "rows"]


def rows(W, tokens):
    """The rows of a matrix that a matrix of ids names, (sequences, steps, columns)."""
    return W[tokens.flatten()].reshape((tokens.shape[0], tokens.shape[1], W.shape[1]))


def of_sequence(z, tokens):
    """z[sequence, token] at each step, (sequences, steps, 1): each sequence has variables of its own."""
    return z[T.arange(tokens.shape[0]).dimshuffle(0, "x"), tokens].dimshuffle(0, 1, "x")


class EmbeddingLayer(WeightedLayer):
    """W[token]: ids of words, int32, (documents, steps), to (documents, steps, units).

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape, (documents, steps)
    num_tokens, num_units : int
    W : Theano shared variable, expression, numpy array or callable
        initial weights, (num_tokens, num_units)
    **kwargs
        see :class:`lasagne.layers.Layer`
    """

    def __init__(self, incoming, num_tokens, num_units, W=Uniform(0.05), **kwargs):
        super().__init__(incoming, **kwargs)
        self.num_units = num_units
        self.W = self.add_param(W, (num_tokens, num_units), name="W")

    def get_output_shape_for(self, input_shape):
        return (*input_shape, self.num_units)

    def get_output_for(self, input, effective=None, **kwargs):
        return rows(self.effective(self.W, effective), input)


class SparseVDEmbeddingLayer(EmbeddingLayer):
    """The same with a posterior for W and, if it is asked for, a variable z for each word: z[word] W[word].

    In training, W is drawn once a minibatch, z once a document. In prediction, z is part of W.

    Parameters
    ----------
    incoming, num_tokens, num_units, W, **kwargs
        see :class:`EmbeddingLayer`
    log_sigma2 : initial log sigma^2 of W and z
    group : bool
        whether there is a z
    posterior : dict
        of :class:`nets.layers.posterior.WeightPosterior`
    noise : object with `normal(size, dtype)`, or None
        see :func:`nets.layers.noise.layer_noise`

    References
    ----------
    Chirkova, Lobacheva, Vetrov (2018), Bayesian compression for natural language processing.
    """

    def __init__(self, incoming, num_tokens, num_units, W=Uniform(0.05), log_sigma2=Constant(-6.0), group=False,
                 posterior=(), noise=None, **kwargs):
        self.noise = noise or layer_noise(kwargs.get("name"))
        super().__init__(incoming, num_tokens, num_units, W, **kwargs)
        posterior = dict(posterior)
        self.posterior = add_posterior(self, self.W, log_sigma2, **posterior)
        self.z = add_group(self, "z", num_tokens, log_sigma2, **posterior) if group else None

    @property
    def posteriors(self):
        """W's, and z's if there is one."""
        return [self.posterior] + ([self.z] if self.z else [])

    def effective_params(self):
        W = self.posterior.kept
        return {self.W: W * self.z.kept.dimshuffle(0, "x") if self.z else W}

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic:
            return super().get_output_for(input, **kwargs)
        W = self.posterior.sample(self.noise.normal(self.W.shape, dtype=self.W.dtype))
        embedded = rows(W, input)
        if not self.z:
            return embedded
        numbers = self.noise.normal((input.shape[0], self.W.shape[0]), dtype=self.W.dtype)
        return embedded * of_sequence(self.z.sample(numbers), input)
