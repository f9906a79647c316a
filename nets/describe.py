"""What a network is made of, as plain data: all that export needs beside the weights, see :mod:`utils.export`."""

from lasagne import nonlinearities
from lasagne.layers import (DenseLayer as LasagneDenseLayer, DropoutLayer, FlattenLayer, InputLayer, MaxPool2DLayer,
                            NonlinearityLayer, get_all_layers)

from nets.layers.batch_norm import BatchNormLayer
from nets.layers.conv import Convolution
from nets.layers.dense import Product
from nets.layers.embedding import EmbeddingLayer
from nets.layers.lstm import LSTMLayer
from nets.layers.output import OutputLayer, SparseVDOutputLayer
from nets.layers.weighted import LinearLayer

__all__ = ["describe"]

_NONLINEARITIES = {nonlinearities.identity: "identity", nonlinearities.rectify: "rectify",
                   nonlinearities.softmax: "softmax", nonlinearities.tanh: "tanh", nonlinearities.sigmoid: "sigmoid"}


def describe(net):
    """The layers of a network in the order of the computation; those that do nothing in prediction are left out.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
        the output layer

    Returns
    -------
    list of dict
        JSON's types only. Each has `kind`, `name`, `input` (the layer before it, by name), `shape` (of the output for
        one input) and what the kind needs: `pad`, `stride`, `size`, `nonlinearity`, `epsilon`, `hard`, `last`. Kinds
        and nonlinearities that export does not know stand there by the names of their classes: it refuses them.
    """
    found, names = [], {}
    for number, layer in enumerate(get_all_layers(net)):
        before = getattr(layer, "input_layer", None)
        if isinstance(layer, DropoutLayer):
            names[layer] = names[before]
            continue
        names[layer] = layer.name or f"layer{number}"
        described = {**_kind(layer), "name": names[layer], "shape": list(layer.output_shape[1:])}
        if before is not None:
            described["input"] = names[before]
        elif hasattr(layer, "input_layers"):
            described["inputs"] = [names[incoming] for incoming in layer.input_layers]
        found.append(described)
    return found


def _kind(layer):
    if isinstance(layer, InputLayer):
        return {"kind": "input"}
    if isinstance(layer, FlattenLayer):
        return {"kind": "flatten"}
    if isinstance(layer, MaxPool2DLayer) and layer.ignore_border and not any(layer.pad):
        return {"kind": "max_pool", "size": list(layer.pool_size), "stride": list(layer.stride)}
    if isinstance(layer, NonlinearityLayer):
        return {"kind": "nonlinearity", "nonlinearity": _nonlinearity(layer)}
    if isinstance(layer, BatchNormLayer):
        return {"kind": "batch_norm", "epsilon": layer.epsilon, "nonlinearity": _nonlinearity(layer)}
    if isinstance(layer, EmbeddingLayer):
        return {"kind": "embedding"}
    if isinstance(layer, LSTMLayer):
        return {"kind": "lstm", "hard": layer.hard, "last": layer.last}
    if isinstance(layer, (OutputLayer, SparseVDOutputLayer)):
        return {"kind": "output", "nonlinearity": _nonlinearity(layer)}
    linear = getattr(layer, "linear", None)
    if isinstance(layer, LinearLayer) and isinstance(linear, Convolution):
        return {"kind": "conv", "size": list(linear.weights_shape[2:]), "pad": list(linear.pad),
                "stride": list(linear.stride), "nonlinearity": _nonlinearity(layer)}
    if isinstance(linear, Product) or type(layer) is LasagneDenseLayer:
        return {"kind": "dense", "nonlinearity": _nonlinearity(layer)}
    return {"kind": type(layer).__name__}


def _nonlinearity(layer):
    function = layer.nonlinearity
    return _NONLINEARITIES.get(function) or getattr(function, "__name__", type(function).__name__)
