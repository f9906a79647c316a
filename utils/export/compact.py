"""Cuts out of a pruned network what no kept weight needs; what is left is an ordinary, smaller dense network.

A unit without kept weights is the same for every image. Where such constants meet a layer without zero padding, they
move into its biases. With zeros around the images a constant channel is none: there, one takes the others' part.
"""

import math
from collections import namedtuple

import numpy as np

from utils.export.network import WEIGHTED, ExportedNetwork
from utils.export.predict import activate, affine_of_batch_norm

__all__ = ["compact", "Compacted", "structure"]

#: network : :class:`ExportedNetwork`; units : list of int, what is left as the literature counts it: filters of
#: convolutions, inputs of the first dense layer, units of dense layers but the last; units_before : the same before.
#: A layer that is wholly pruned keeps one unit, of weights 0.
Compacted = namedtuple("Compacted", "network units units_before")


def compact(network, fold_preprocessing=True):
    """The smaller network with the same predictions, rounding apart.

    Parameters
    ----------
    network : :class:`ExportedNetwork`
        pruned weights are 0
    fold_preprocessing : bool
        whether a mean image moves into the biases of a first dense layer

    Returns
    -------
    :class:`Compacted`
    """
    layers, arrays = _normalized(network)
    preprocessing = network.preprocessing
    if fold_preprocessing and preprocessing is not None and set(preprocessing) == {"mean"}:
        first = next((layer for layer in layers[1:] if layer["kind"] != "flatten"), None)
        if first and first["kind"] == "dense":
            name = first["name"]
            arrays[f"{name}.b"] -= preprocessing["mean"].astype(np.float64).ravel() @ arrays[f"{name}.W"]
            preprocessing = {}
    _fold_constants(layers, arrays)
    layers = _cut(layers, arrays)
    result = ExportedNetwork(layers, {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()},
                             preprocessing, network.classes)
    return Compacted(result, _units(layers), _units(network.layers))


def structure(network):
    """What compaction leaves of a network, as JSON's types.

    Returns
    -------
    dict
        `units`, `multiplications` (an image's, in layers with weights) and `weights`, each a dict of `before` and
        `left`
    """
    found = compact(network)
    return {key: {"before": before, "left": left} for key, before, left in (
        ("units", found.units_before, found.units),
        ("multiplications", network.multiplications(), found.network.multiplications()),
        ("weights", *(sum(array.size for array in one.weights().values()) for one in (network, found.network))))}


def _units(layers):
    counts, shape, dense = [], layers[0]["shape"], False
    for layer in layers[1:]:
        if layer["kind"] == "dense" and not dense:
            counts.append(math.prod(shape))
            dense = True
        if layer["kind"] in WEIGHTED:
            counts.append(layer["shape"][0])
        shape = layer["shape"]
    return counts[:-1]


def _normalized(network):
    """Layers and float64 arrays with batch normalization folded where that is exact, biases everywhere, and `flatten`
    before the first dense layer."""
    layers, arrays = [dict(network.layers[0])], {}
    for layer in network.layers[1:]:
        layer, previous = dict(layer), layers[-1]
        layer.pop("input", None)
        name, kind = layer["name"], layer["kind"]
        own = {param: network.arrays[f"{name}.{param}"].astype(np.float64) for param in ("W", "b", "scale", "shift")
               if f"{name}.{param}" in network.arrays}
        if kind in ("batch_norm", "affine"):
            scale, shift = affine_of_batch_norm(layer, network.arrays)
            layer = {"kind": "affine", "name": name, "shape": layer["shape"],
                     "nonlinearity": layer.get("nonlinearity", "identity")}
            if previous["kind"] in WEIGHTED and previous["nonlinearity"] == "identity":
                W, b = (f"{previous['name']}.{param}" for param in "Wb")
                arrays[W] *= scale if previous["kind"] == "dense" else scale[:, None, None, None]
                arrays[b] = arrays[b] * scale + shift
                previous["nonlinearity"] = layer["nonlinearity"]
                continue
            own = {"scale": scale, "shift": shift}
        elif kind in WEIGHTED:
            layer.setdefault("nonlinearity", "identity")
            own.setdefault("b", np.zeros(layer["shape"][0]))
            if kind == "dense" and len(previous["shape"]) > 1:
                layers.append({"kind": "flatten", "name": _unused("flatten", network), "shape": [len(own["W"])]})
        elif kind == "nonlinearity" and previous.get("nonlinearity") == "identity":
            previous["nonlinearity"] = layer["nonlinearity"]
            continue
        arrays.update((f"{name}.{param}", array) for param, array in own.items())
        layers.append(layer)
    return layers, arrays


def _unused(name, network):
    names = {layer["name"] for layer in network.layers}
    return next(found for number in range(len(names) + 1) if (found := f"{name}{number or ''}") not in names)


def _fold_constants(layers, arrays):
    """From the input on: what is the same for all images moves into the biases of the layer that sees it.

    Of each signal, `constants` are the values along axis 1, NaN where it depends on the image.
    """
    constants, shape = np.full(layers[0]["shape"][0], np.nan), layers[0]["shape"]
    for layer in layers[1:]:
        kind, name = layer["kind"], layer["name"]
        fixed = ~np.isnan(constants)
        if kind == "flatten":
            constants = np.repeat(constants, math.prod(shape[1:]))
        elif kind == "select":
            constants = constants[layer["indices"]]
        elif kind == "affine":
            constants = constants * arrays[f"{name}.scale"] + arrays[f"{name}.shift"]
            constants[arrays[f"{name}.scale"] == 0] = arrays[f"{name}.shift"][arrays[f"{name}.scale"] == 0]
        elif kind in WEIGHTED:
            W = arrays[f"{name}.W"] = arrays[f"{name}.W"].copy()
            by_input = W if kind == "dense" else np.moveaxis(W, 1, 0)     # a view, inputs first
            if kind == "dense" or not any(layer.get("pad", (0, 0))):
                folded = np.tensordot(constants[fixed], by_input[fixed], 1)
                arrays[f"{name}.b"] = arrays[f"{name}.b"] + (folded if kind == "dense" else folded.sum(axis=(1, 2)))
                by_input[fixed] = 0
            else:
                by_input[constants == 0] = 0
                others = np.flatnonzero(fixed & by_input.reshape(len(fixed), -1).any(axis=1))
                if len(others) > 1:
                    one = others[np.abs(constants[others]).argmax()]
                    by_input[one] = np.tensordot(constants[others] / constants[one], by_input[others], 1)
                    by_input[others[others != one]] = 0
            dead = ~(W.any(axis=0) if kind == "dense" else W.reshape(len(W), -1).any(axis=1))
            constants = np.where(dead, arrays[f"{name}.b"], np.nan)
        nonlinearity = layer.get("nonlinearity", "identity")
        if nonlinearity == "softmax":
            constants = np.full(len(constants), np.nan)      # depends on the other units
        else:
            constants = activate(nonlinearity, constants)
        shape = layer["shape"]


def _cut(layers, arrays):
    """From the outputs back: leaves out what the next layer does not need; returns the layers, changes the arrays."""
    needed, kept = np.ones(layers[-1]["shape"][0], bool), []
    for layer, previous in zip(layers[:0:-1], layers[-2::-1]):
        layer, kind, name, before = dict(layer), layer["kind"], layer["name"], previous["shape"]
        if layer.get("nonlinearity") == "softmax" and not needed.all():
            # Each output depends on all.
            kept.append(_select(f"{name}_used", needed, [int(needed.sum()), *layer["shape"][1:]]))
            needed = np.ones(len(needed), bool)
        layer["shape"] = [int(needed.sum()), *layer["shape"][1:]]
        if kind in WEIGHTED:
            W = arrays[f"{name}.W"]
            W = W[:, needed] if kind == "dense" else W[needed]
            arrays[f"{name}.b"] = arrays[f"{name}.b"][needed]
            needed = W.any(axis=1) if kind == "dense" else W.any(axis=(0, 2, 3))
            needed[0] |= not needed.any()
            arrays[f"{name}.W"] = W[needed] if kind == "dense" else W[:, needed]
        elif kind == "affine":
            for param in ("scale", "shift"):
                arrays[f"{name}.{param}"] = arrays[f"{name}.{param}"][needed]
        elif kind == "flatten":
            each = math.prod(before[1:])
            channels = needed.reshape(before[0], each).any(axis=1)
            left = needed[np.repeat(channels, each)]
            layer["shape"] = [len(left)]
            if not left.all():
                kept.append(_select(f"{name}_used", left, [int(left.sum())]))
            needed = channels
        elif kind == "select":
            chosen = np.asarray(layer["indices"], int)[needed]
            needed = np.zeros(before[0], bool)
            needed[chosen] = True
            indices = (np.cumsum(needed) - 1)[chosen]
            if np.array_equal(indices, np.arange(needed.sum())):
                continue
            layer["indices"] = indices.tolist()
        kept.append(layer)
    if not needed.all():
        kept.append(_select(f"{layers[0]['name']}_used", needed, [int(needed.sum()), *layers[0]["shape"][1:]]))
    return [layers[0], *_without_idle(kept[::-1], layers[0]["shape"])]


def _select(name, kept, shape):
    return {"kind": "select", "name": name, "indices": np.flatnonzero(kept).tolist(), "shape": shape}


def _without_idle(layers, shape):
    """Without layers that flatten what is flat already."""
    found = []
    for layer in layers:
        if layer["kind"] != "flatten" or len(shape) > 1:
            found.append(layer)
        shape = layer["shape"]
    return found
