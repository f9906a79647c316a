"""The forward pass in numpy and scipy: a few lines a layer."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.sparse import csr_matrix

__all__ = ["forward", "activate", "affine_of_batch_norm"]

#: Numbers that a convolution's windows may take at once, for a chunk of images.
_WINDOWS = 2 ** 24
_CHUNK = 1000


def forward(layers, arrays, inputs, sparse=False):
    """The outputs of the last layer.

    Parameters
    ----------
    layers, arrays
        see :class:`utils.export.network.ExportedNetwork`
    inputs : numpy array
        (images, ...), preprocessed
    sparse : bool
        whether weights are taken in CSR form

    Returns
    -------
    numpy array
        float32, (images, outputs)
    """
    weights = {}
    for layer in layers:
        if layer["kind"] in ("dense", "conv"):
            W = arrays[f"{layer['name']}.W"]
            # Outputs by inputs: rows of CSR.
            W = W.T if layer["kind"] == "dense" else W.reshape(len(W), -1)
            weights[layer["name"]] = csr_matrix(W) if sparse else W
    inputs = np.asarray(inputs, np.float32)
    result = np.empty((len(inputs), *layers[-1]["shape"]), np.float32)
    for start in range(0, len(inputs), _CHUNK):
        signal = inputs[start:start + _CHUNK]
        for layer in layers[1:]:
            signal = _apply(layer, arrays, weights, signal)
        result[start:start + _CHUNK] = signal
    return result


def _apply(layer, arrays, weights, signal):
    kind, name = layer["kind"], layer["name"]
    if kind == "dense":
        signal = (weights[name] @ signal.reshape(len(signal), -1).T).T
        signal = _plus(signal, arrays.get(f"{name}.b"))
    elif kind == "conv":
        signal = _plus(_conv(layer, weights[name], signal), arrays.get(f"{name}.b"))
    elif kind == "max_pool":
        signal = _max_pool(layer, signal)
    elif kind in ("batch_norm", "affine"):
        scale, shift = affine_of_batch_norm(layer, arrays)
        signal = _plus(signal * _along(scale.astype(np.float32), signal), shift.astype(np.float32))
    elif kind == "flatten":
        signal = signal.reshape(len(signal), -1)
    elif kind == "select":
        signal = signal[:, layer["indices"]]
    return activate(layer.get("nonlinearity", "identity"), signal)


def affine_of_batch_norm(layer, arrays):
    """Scale and shift of a `batch_norm` or `affine` layer, float64."""
    if layer["kind"] == "affine":
        return [arrays[f"{layer['name']}.{param}"].astype(np.float64) for param in ("scale", "shift")]
    beta, gamma, mean, inv_std = (arrays[f"{layer['name']}.{param}"].astype(np.float64)
                                  for param in ("beta", "gamma", "mean", "inv_std"))
    return gamma * inv_std, beta - mean * gamma * inv_std


def activate(nonlinearity, signal):
    """A nonlinearity by its name."""
    if nonlinearity == "rectify":
        return np.maximum(signal, 0)
    if nonlinearity == "tanh":
        return np.tanh(signal)
    if nonlinearity == "sigmoid":
        return 0.5 * np.tanh(0.5 * signal) + 0.5     # without overflow
    if nonlinearity == "softmax":
        exponentials = np.exp(signal - signal.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)
    return signal


def _along(values, signal):
    return values.reshape(1, -1, *[1] * (signal.ndim - 2))


def _plus(signal, values):
    return signal if values is None else signal + _along(values, signal)


def _conv(layer, W, signal):
    """A cross-correlation, as a product with all windows of a few images at a time."""
    filters, rows, columns = layer["shape"]
    (top, left), (down, right) = layer.get("pad", (0, 0)), layer.get("stride", (1, 1))
    if top or left:
        signal = np.pad(signal, ((0, 0), (0, 0), (top, top), (left, left)))
    windows = sliding_window_view(signal, layer["size"], axis=(2, 3))[:, :, ::down, ::right]
    chunk = max(1, _WINDOWS // (W.shape[1] * rows * columns))
    result = np.empty((len(signal), filters, rows, columns), np.float32)
    for start in range(0, len(signal), chunk):
        part = windows[start:start + chunk].transpose(1, 4, 5, 0, 2, 3)
        images = part.shape[3]
        product = W @ part.reshape(W.shape[1], -1)
        result[start:start + chunk] = product.reshape(filters, images, rows, columns).transpose(1, 0, 2, 3)
    return result


def _max_pool(layer, signal):
    _, rows, columns = layer["shape"]
    (height, width), (down, right) = layer["size"], layer["stride"]
    result = None
    for row in range(height):
        for column in range(width):
            part = signal[:, :, row:row + down * (rows - 1) + 1:down, column:column + right * (columns - 1) + 1:right]
            result = part.copy() if result is None else np.maximum(result, part, out=result)
    return result
