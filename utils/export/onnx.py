"""A network as an ONNX model, so that it runs nearly anywhere; needs the package `onnx`."""

import math

import numpy as np

from utils import files
from utils.export.network import PIXEL_SCALE
from utils.export.optional import require
from utils.export.predict import affine_of_batch_norm

__all__ = ["onnx_model", "write_onnx"]

#: Of 2021: old enough for what runs today, new enough for all that is needed here.
_OPSET, _IR_VERSION = 13, 7
_NONLINEARITIES = {"rectify": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def write_onnx(network, path):
    """Writes :func:`onnx_model` to a file."""
    content = onnx_model(network).SerializeToString()
    with files.atomic_write(path) as file:
        file.write(content)


def onnx_model(network):
    """The model, checked by ONNX's checker: `images`, pixels from 0 to 255, (n, channels, rows, columns), float32, to
    `probabilities`, (n, classes).

    Parameters
    ----------
    network : :class:`utils.export.network.ExportedNetwork`

    Raises
    ------
    UserError
        if `onnx` is not installed.
    """
    onnx = require("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind, name, *inputs, **attributes):
        nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name
    signal, pixels = "images", math.prod(network.input_shape)
    if network.preprocessing is not None:
        signal = node("Mul", "scaled", signal, constant("pixel_scale", np.float32(1 / PIXEL_SCALE)))
        if "mean" in network.preprocessing:
            signal = node("Sub", "centered", signal, constant("mean_image", network.preprocessing["mean"][None]))
        if "whitening" in network.preprocessing:
            signal = node("Reshape", "pixels", signal, constant("as_pixels", np.array([-1, pixels], np.int64)))
            signal = node("MatMul", "whitened", signal, constant("whitening", network.preprocessing["whitening"]))
            signal = node("Reshape", "white", signal,
                          constant("as_images", np.array([-1, *network.input_shape], np.int64)))
    before = network.input_shape
    for layer in network.layers[1:]:
        kind, name, arrays = layer["kind"], f"layer_{layer['name']}", network.arrays
        own = {param: arrays[f"{layer['name']}.{param}"] for param in "Wb" if f"{layer['name']}.{param}" in arrays}
        if kind == "dense":
            if len(before) > 1:
                signal = node("Flatten", f"{name}_flat", signal, axis=1)
            signal = node("Gemm", name, signal, *(constant(f"{name}_{param}", own[param]) for param in own))
        elif kind == "conv":
            (top, left) = layer.get("pad", (0, 0))
            signal = node("Conv", name, signal, *(constant(f"{name}_{param}", own[param]) for param in own),
                          kernel_shape=layer["size"], strides=layer.get("stride", [1, 1]), pads=[top, left, top, left])
        elif kind == "max_pool":
            signal = node("MaxPool", name, signal, kernel_shape=layer["size"], strides=layer["stride"])
        elif kind == "flatten":
            signal = node("Flatten", name, signal, axis=1)
        elif kind == "select":
            indices = constant(f"{name}_indices", np.array(layer["indices"], np.int64))
            signal = node("Gather", name, signal, indices, axis=1)
        elif kind in ("batch_norm", "affine"):
            along = (1, -1, *[1] * (len(before) - 1))
            scale, shift = (values.astype(np.float32).reshape(along) for values in affine_of_batch_norm(layer, arrays))
            signal = node("Mul", f"{name}_scaled", signal, constant(f"{name}_scale", scale))
            signal = node("Add", name, signal, constant(f"{name}_shift", shift))
        nonlinearity = layer.get("nonlinearity", "identity")
        if nonlinearity == "softmax":
            signal = node("Softmax", f"{name}_softmax", signal, axis=1)
        elif nonlinearity in _NONLINEARITIES:
            signal = node(_NONLINEARITIES[nonlinearity], f"{name}_{nonlinearity}", signal)
        before = layer["shape"]
    node("Identity", "probabilities", signal)
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "network", [helper.make_tensor_value_info("images", floats, ["n", *network.input_shape])],
        [helper.make_tensor_value_info("probabilities", floats, ["n", len(network.classes)])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(model, {"classes": ", ".join(network.classes)})
    onnx.checker.check_model(model)
    return model
