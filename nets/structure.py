"""What a recurrent network keeps of its words, embedding's dimensions, neurons and gates."""

from collections import namedtuple

import numpy as np
from lasagne.layers import get_all_layers

from nets.layers.embedding import EmbeddingLayer
from nets.layers.lstm import GATES, LSTMLayer
from nets.layers.output import OutputLayer, SparseVDOutputLayer

__all__ = ["Count", "cut"]

#: Of one kind of part. name : str, "words"; before, left : int.
Count = namedtuple("Count", "name before left")


def cut(net, value, set_value):
    """Sets weights to and from parts that nothing leads to or from to 0; predictions stay the same.

    A word is left if a weight of its row is. A dimension of the embedding is left if a weight in its column of the
    embedding and one in its row of W_x are; a neuron, if one in its row of W_h or of the output's matrix is. Without
    incoming weights it stays, as a function of its biases. A gate, of a neuron that is left, is no constant if a weight
    of its column in W_x or W_h is left. One pass, as in the authors' code.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
    value : callable(parameter) -> numpy array
        what predictions use; what leads from a group that is pruned must be 0 there
    set_value : callable(parameter, numpy array)

    Returns
    -------
    list of :class:`Count`
        of words, dimensions (where there is an embedding), neurons and gates; empty for other networks than one LSTM
        with an output layer and perhaps an embedding
    """
    embeddings, lstms, outputs = (_layers(net, kind) for kind in (EmbeddingLayer, LSTMLayer,
                                                                  (OutputLayer, SparseVDOutputLayer)))
    if len(lstms) != 1 or len(outputs) != 1 or len(embeddings) > 1:
        return []
    (lstm,), (output,) = lstms, outputs
    W_x, W_h, W = (value(param).copy() for param in (lstm.W_x, lstm.W_h, output.W))
    found = []
    if embeddings:
        W_e = value(embeddings[0].W).copy()
        dimensions = W_e.any(axis=0) & W_x.any(axis=1)
        found += [_count("words", W_e.any(axis=1)), _count("dimensions", dimensions)]
        W_e[:, ~dimensions] = 0
        W_x[~dimensions] = 0
        set_value(embeddings[0].W, W_e)
    else:
        found.append(_count("words" if lstm.streams else "symbols", W_x.any(axis=1)))
    neurons = W_h.any(axis=1) | W.any(axis=1)
    columns = np.tile(neurons, len(GATES))
    W_x[:, ~columns] = 0
    W_h[:, ~columns] = 0
    set_value(lstm.W_x, W_x)
    set_value(lstm.W_h, W_h)
    return [*found, _count("neurons", neurons), _count("gates", W_x.any(axis=0) | W_h.any(axis=0))]


def _layers(net, kind):
    return [layer for layer in get_all_layers(net) if isinstance(layer, kind)]


def _count(name, left):
    return Count(name, left.size, int(left.sum()))
